"""Write predicates.md: every predicate with its fields, from its schema, and an example.

    uv run --no-sync docs/reference/predicate_list.py

`tests/unit/test_predicates.py` fails while the page is not what this makes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/vectors

from orchestrator.evidence import predicates
from orchestrator.model.canonical import sha256
from orchestrator.model.schema import load_schema
from tests.vectors.statements import Signed, make_statements

PAGE = Path(__file__).with_name("predicates.md")
_SCHEMAS = "../../orchestrator/model/schemas"
_INTRODUCTION = """\
# Predicates

Made by [predicate_list.py](predicate_list.py) from the schemas and from statements that the code \
itself signed; do not edit.

Every signed record of Anlan is an [in-toto Statement v1](https://github.com/in-toto/attestation/\
blob/main/spec/v1/statement.md) in a DSSE envelope ([form](evidence.md#signatures)). Its \
`predicateType` is one of the types below, and its `predicate` fits the schema of that type, \
[`predicates/*.schema.json`](../../orchestrator/model/schemas/predicates) (JSON Schema 2020-12; \
what is not named is not allowed). What does not fit is not signed, and not believed: in a bundle \
it is the problem `malformed`, an approval is `approval-malformed`, a waiver `waiver-malformed`, \
an access review no review, and a schedule of the log `bad-schedule`. No other spelling of a type \
is read.

Types and times are those of JSON Schema and ISO 8601 in UTC; a digest is sha256, 64 hex digits. \
Under "also proven" is what a schema cannot say and a verifier checks besides. In the examples, \
lists are cut after their first element and texts after 60 characters; the whole ones are in \
[`tests/vectors/statements`](../../tests/vectors), with the keys that verify them."""
_ABOUT: Mapping[str, tuple[str, str, str]] = {
    predicates.PLAN: (
        "the environment's key, before anything is touched",
        "`plan/plan.json`, `drill/drill.yaml`, `drill/environment.json`, all of `policy/` and of "
        "`raw/approvals/`",
        "`plan` says what the file says, whose digest is `planDigest`; drill, "
        "environment and policies are those that it names; it is in the log, before the run began",
    ),
    predicates.SCHEDULE: (
        "the environment's key, when the schedule is applied",
        "`schedule`: the sha256 of the canonical JSON of `record`",
        "it is in the log; each run that it makes due has a plan there, if only as a missed one",
    ),
    predicates.APPROVAL: (
        "an approver's own key",
        "`plan/plan.json`: the sha256 of the plan's canonical JSON",
        "the key is that of `approver` in the plan's rule; run and plan are this one; who planned "
        "it does not count",
    ),
    predicates.WAIVER: (
        "an approver's own key",
        "`waiver`: the sha256 of the canonical JSON of `waiver`",
        "the key is that of `approver` in the environment's rule; it is in force, for no longer "
        "than the rule's `waiver_days`, and of this environment",
    ),
    predicates.WAIVER_WITHDRAWAL: (
        "an approver's own key",
        "`waiver`: the sha256 of the waiver's statement",
        "the key is that of `approver` in the environment's rule; it is in the log",
    ),
    predicates.LEGAL_HOLD: (
        "the environment's key, when the hold begins or ends",
        "`plan`: the sha256 of the statement of the run's plan",
        "it is in the log; of one run the last counts",
    ),
    predicates.TOMBSTONE: (
        "the environment's key, before anything of the run is removed",
        "`run`: the sha256 of the statement of the run's result",
        "it is in the log, `statements` are those that the log has of the run, its retention was "
        "over, and no hold was on it. The verdict is the signer's word",
    ),
    predicates.DR_DRILL: (
        "the environment's key, when the run has ended",
        "`runs/run.json`, `plan/plan.json`, `controls/findings.json`, all of `raw/`",
        "`run` says what the file does; `planDigest` and `planEntry` are those of the logged plan; "
        "`run.derived` is what the subjects lead to, derived again ([verdicts](verdicts.md))",
    ),
    predicates.CONTROL_RESULT: (
        "the environment's key, when the run has ended",
        "`controls/findings.json`, `raw/facts.json`, `drill/environment.json`, all of `policy/`",
        "`results` says what the file says, and that is what the policies say of the facts",
    ),
    predicates.ACCESS_REVIEW: (
        "a reviewer's own key",
        "`access/SYSTEM`, each: the sha256 of the canonical JSON of its rights",
        "the key is that of `reviewer` in the environment's rule; it is of this environment, and "
        "not dated in the future",
    ),
}
_TERMS = """\
### The field's terms

`run` is kept whole, and not spelled out once more beside itself: two places for one value can \
differ, and the verifier would have to compare them. What drill reports usually name is at:

| term | where |
| --- | --- |
| run | `runId` |
| plan, and that it was first | `planDigest`, `planEntry` |
| verdict, and why | `run.verdict`, `run.derived.reasons` |
| scenario, trigger, operator, tool | `scenario`, `trigger`, `operator`, `tool` of the plan (subject `plan/plan.json`) |
| approvers | subjects `raw/approvals/NAME.json`, each a statement of type `approval/v1` |
| targets | `run.derived.targets`: target, measured, met |
| fault injected at | mark `fault` of the subject `raw/steps.jsonl`; the moment 0 of `run.derived.phases` |
| detected, fenced (decided), promoted (database open), routed | ends of the phases `detect`, `fence`, `promote`, `route` in `run.derived.phases` (`from_seconds` + `seconds`) |
| first ERP write | end of the phase `application`; `run.derived.rto_seconds` after the fault |
| RTO | `run.derived.rto_seconds` |
| RPO | `run.derived.rpo_seconds`, `run.derived.rpo_transactions`; by key in `run.derived.ledger.lost_keys` |
| last commit before, last commit recovered | subjects `raw/ledger.jsonl` and `raw/recovered.json` |
| in doubt | `run.derived.ledger.in_doubt_committed`, `in_doubt_absent` |
| clock offsets | facts of kind `clock_offset` in the subject `raw/facts.json` |
| isolation, checks | `run.derived.checks`: step, name, ok (null: not observed) |
| teardown | steps of phase `restore` in `run.derived.steps`; `run.derived.undo` |
| policy results | `run.derived.policies`; one by one in `control-result/v1` |"""  # noqa: E501


def render() -> str:
    """Return the page."""
    made = make_statements()
    return "\n\n".join([_INTRODUCTION, _table(), *(_section(*one) for one in made.items())]) + "\n"


def _short(kind: str) -> str:
    return kind.removeprefix("https://anlan.dev/predicates/")


def _table() -> str:
    rows = ["| predicate type | signed by | subjects |", "| --- | --- | --- |"]
    for kind, (by, subjects, _) in _ABOUT.items():
        anchor = re.sub(r"[^a-z0-9-]", "", _short(kind))
        rows.append(f"| [`{kind}`](#{anchor}) | {by} | {subjects} |")
    return "\n".join(rows)


def _section(kind: str, signed: Signed) -> str:
    name = predicates.SCHEMAS[kind]
    schema = load_schema(name)
    lines = [
        f"## {_short(kind)}",
        "",
        f"{schema['description']} Schema: [`{name}`]({_SCHEMAS}/{name}.schema.json).",
        "",
        "| field | type | meaning |",
        "| --- | --- | --- |",
        *_fields(schema, ""),
        "",
        f"Also proven: {_ABOUT[kind][2]}.",
    ]
    if kind == predicates.DR_DRILL:
        lines += ["", _TERMS]
    shown = json.dumps(_cut(signed.statement), indent=1, ensure_ascii=False)
    digest = sha256(signed.envelope)
    lines += ["", f"Example (envelope `{digest[:16]}…`):", "", "```json", shown, "```"]
    return "\n".join(lines)


def _fields(schema: Mapping[str, Any], above: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        path = f"{above}{name}"
        yield f"| `{path}` | {_type(field)} | {field.get('description', '')} |"
        inner, path = field, f"{path}."
        while inner.get("type") == "array" or isinstance(inner.get("additionalProperties"), dict):
            in_list = inner.get("type") == "array"
            inner = inner["items"] if in_list else inner["additionalProperties"]
            path = f"{path[:-1]}[]." if in_list else f"{path}*."
        if "properties" in inner:
            yield from _fields(inner, path)


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        file = Path(field["$ref"]).name
        return f"[`{file.removesuffix('.schema.json')}`]({_SCHEMAS}/{file})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    if "64" in field.get("pattern", ""):
        return "digest"
    known = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(
        "time" if "T" in field.get("pattern", "") and one == "string" else one for one in known
    )


def _cut(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _cut(value) for key, value in data.items()}
    if isinstance(data, list) and len(data) > 1:
        return [_cut(data[0]), f"… {len(data) - 1} more"]
    if isinstance(data, list):
        return [_cut(one) for one in data]
    long = isinstance(data, str) and len(data) > 66
    return f"{data[:60]}…" if long else data


if __name__ == "__main__":
    PAGE.write_text(render())
