"""in-toto Statements v1 about a plan, a drill's run and its control results.

A subject is a file of the bundle by its path there; which paths a statement must cover is decided
here once, for signing and for verifying.
Specification: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.evidence import layout, predicates
from orchestrator.evidence.contents import Contents, contents_of
from orchestrator.model.canonical import canonical, canonical_of_json
from orchestrator.model.errors import InputError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATES = {
    "plan": predicates.PLAN,
    "controls": predicates.CONTROL_RESULT,
    "run": predicates.DR_DRILL,
}
FILES = {
    "plan": layout.PLAN_STATEMENT,
    "controls": layout.CONTROLS_STATEMENT,
    "run": layout.RUN_STATEMENT,
}


def covers(kind: str, path: str) -> bool:
    """Whether a statement of this kind must have this bundle path as a subject, if it exists."""
    rules = path.startswith(layout.RULES)
    if kind == "plan":
        approval = path.startswith(layout.APPROVALS)
        return rules or approval or path in {layout.PLAN, layout.DRILL, layout.ENVIRONMENT}
    if kind == "controls":
        return rules or path in {layout.FINDINGS, layout.FACTS, layout.ENVIRONMENT}
    return path.startswith(layout.RAW) or path in {layout.RUN, layout.FINDINGS, layout.PLAN}


def subjects(kind: str, contents: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the subjects of a statement of this kind about these files, in order of name."""
    files = contents_of(contents)
    return [
        {"name": path, "digest": {"sha256": files.digest(path)}}
        for path in sorted(files)
        if covers(kind, path)
    ]


def need(contents: Mapping[str, bytes], path: str) -> Any:
    """Return the parsed JSON of a file that must be there. Raises InputError."""
    if path not in contents:
        raise InputError("the run directory lacks it", file=path)
    try:
        return contents_of(contents).json(path)
    except ValueError as error:
        raise InputError(f"not strict JSON: {error}", file=path) from error


def predicate(kind: str, contents: Contents, plan_entry: str | None) -> dict[str, Any]:
    """Return what is stated about these files; `plan_entry` is the digest of the plan's log line.

    Raises InputError when a file is missing or not JSON.
    """
    plan = need(contents, layout.PLAN)
    bound = {"runId": plan["run_id"], "planDigest": contents.digest(layout.PLAN)}
    if kind == "plan":
        need(contents, layout.ENVIRONMENT)
        digest = contents.digest(layout.ENVIRONMENT)
        return {**bound, "environmentDigest": digest, "plan": plan}
    if kind == "controls":
        return {**bound, "planEntry": plan_entry, "results": need(contents, layout.FINDINGS)}
    return {**bound, "planEntry": plan_entry, "run": need(contents, layout.RUN)}


def build(kind: str, contents: Mapping[str, bytes], plan_entry: str | None = None) -> bytes:
    """Return the canonical bytes of the statement of `kind` (plan, controls, run).

    Raises InputError when a file it is about is missing or not JSON, or does not fit its schema.
    """
    data = _data(kind, contents_of(contents), plan_entry)
    predicates.check_statement(data, file=FILES[kind])
    return canonical(data)


def same(
    kind: str, contents: Contents, plan_entry: str | None, payload: bytes
) -> dict[str, Any] | None:
    """Return the statement of these files if it is the payload byte for byte, else None.

    Then all that it says of the files is so, and it fits its schema if they fit theirs.
    """
    try:
        data = _data(kind, contents, plan_entry)
        return data if canonical_of_json(data) == payload else None
    except (ValueError, TypeError, KeyError, InputError, RecursionError):
        return None


def _data(kind: str, contents: Contents, plan_entry: str | None) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(kind, contents),
        "predicateType": PREDICATES[kind],
        "predicate": predicate(kind, contents, plan_entry),
    }
