"""What the parts of a bundle must say about one another: pure checks, each returning problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.evidence import layout, predicates, statement
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.tlog import merkle, proofs
from orchestrator.evidence.tlog.entries import Entry, LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.canonical import StrictJsonError, same_json, sha256
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp


@dataclass(frozen=True)
class Problem:
    """One reason not to accept a bundle: a stable code, the path it is about, a sentence."""

    code: str
    path: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"code": self.code, "path": self.path, "message": self.message}


def check_files(files: Sequence[Mapping[str, Any]], contents: Contents) -> list[Problem]:
    """Every listed file is there with its digest and size; no other file is."""
    problems: list[Problem] = []
    listed: set[str] = set()
    for item in files:
        path = item["path"]
        if path in listed:
            problems.append(Problem("duplicate-entry", path, "listed twice in the manifest"))
        listed.add(path)
        content = contents.get(path)
        if content is None:
            problems.append(Problem("missing-file", path, "listed in the manifest, not there"))
        elif len(content) != item["size_bytes"] or contents.digest(path) != item["sha256"]:
            problems.append(Problem("digest-mismatch", path, "differs from its digest"))
    own = {layout.MANIFEST, layout.MANIFEST_ENVELOPE}
    for path in sorted(set(contents) - listed - own):
        problems.append(Problem("extra-file", path, "is not in the signed manifest"))
    return problems


def check_statement(kind: str, data: Mapping[str, Any], contents: Contents) -> list[Problem]:
    """The predicate is of its type; the subjects are exactly the files to cover, as they are."""
    file = statement.FILES[kind]
    problems: list[Problem] = []
    if data["predicateType"] != statement.PREDICATES[kind]:
        problems.append(
            Problem("wrong-predicate", file, f"predicate type is {data['predicateType']!r}")
        )
    try:
        predicates.check_predicate(statement.PREDICATES[kind], data["predicate"])
    except InputError as error:
        problems.append(Problem("malformed", file, f"its predicate does not fit: {error}"))
    stated: dict[str, str] = {}
    for subject in data["subject"]:
        if subject["name"] in stated:
            problems.append(Problem("duplicate-subject", file, f"{subject['name']} is there twice"))
        stated[subject["name"]] = subject["digest"]["sha256"]
    for path in sorted(set(stated) | {p for p in contents if statement.covers(kind, p)}):
        if path not in stated:
            message = f"is not a subject of the {kind} statement: it was added or renamed later"
            problems.append(Problem("unbound-file", path, message))
        elif not statement.covers(kind, path):
            message = f"is no subject that a {kind} statement may have"
            problems.append(Problem("wrong-subject", path, message))
        elif path not in contents:
            problems.append(
                Problem("missing-file", path, f"subject of the {kind} statement, not there")
            )
        elif contents.digest(path) != stated[path]:
            message = f"differs from what the {kind} statement was signed for"
            problems.append(Problem("subject-mismatch", path, message))
    return problems


def check_run_identity(
    manifest: Mapping[str, Any] | None,
    statements: Mapping[str, Mapping[str, Any]],
    contents: Contents,
) -> list[Problem]:
    """One run, one plan, one environment everywhere; embedded results equal the files."""
    problems: list[Problem] = []
    try:
        plan, run, findings, environment = (
            contents.json(path) if path in contents else None
            for path in (layout.PLAN, layout.RUN, layout.FINDINGS, layout.ENVIRONMENT)
        )
    except StrictJsonError:
        return problems  # said elsewhere
    run_id = plan.get("run_id") if isinstance(plan, dict) else None
    named = {
        file: statements[kind]["predicate"]["runId"]
        for kind, file in statement.FILES.items()
        if kind in statements
    }
    if manifest is not None:
        named[layout.MANIFEST] = manifest["run_id"]
        if isinstance(environment, dict) and manifest["environment"] != environment.get("name"):
            problems.append(
                Problem(
                    "other-environment", layout.ENVIRONMENT, "is not the manifest's environment"
                )
            )
    if isinstance(run, dict):
        named[layout.RUN] = run.get("run_id")
    for file, name in named.items():
        if name != run_id:
            problems.append(Problem("other-run", file, f"is about run {name!r}, not {run_id!r}"))
    plan_digest = sha256(contents.get(layout.PLAN, b""))
    embedded = {"plan": ("plan", plan), "run": ("run", run), "controls": ("results", findings)}
    for kind, data in statements.items():
        predicate = data["predicate"]
        if predicate.get("planDigest") != plan_digest:
            problems.append(
                Problem("plan-mismatch", statement.FILES[kind], "is bound to another plan")
            )
        key, content = embedded[kind]
        if not same_json(predicate.get(key), content):
            problems.append(
                Problem("payload-mismatch", statement.FILES[kind], f"its {key} is not the file's")
            )
    return problems


def check_plan(plan: Any, contents: Contents) -> list[Problem]:
    """The drill, the environment and the policies are those that the plan was made of."""
    if not isinstance(plan, dict):
        return []  # said elsewhere
    expected = {
        layout.DRILL: plan["drill"]["digest"],
        layout.ENVIRONMENT: plan["environment"]["digest"],
        **{f"{layout.RULES}{name}": value for name, value in plan["policies"].items()},
    }
    problems = [
        Problem("plan-mismatch", path, "is not what the plan was made of")
        for path, value in expected.items()
        if path in contents and contents.digest(path) != value
    ]
    problems += [
        Problem("missing-file", path, "named by the plan, not there")
        for path in expected
        if path not in contents
    ]
    problems += _check_rule_of(plan, contents)
    return problems + [
        Problem("plan-mismatch", path, "the plan names no such policy file")
        for path in sorted(contents)
        if path.startswith(layout.RULES) and path not in expected
    ]


def _check_rule_of(plan: Mapping[str, Any], contents: Contents) -> list[Problem]:
    """A plan with impact on production has the environment's approval rule, no other has one."""
    environment = contents.json_or_none(layout.ENVIRONMENT)
    known = environment.get("approvals") if isinstance(environment, dict) else None
    rule = known if plan["impact"] == "production" else None
    if same_json(plan.get("approvals"), rule):
        return []
    message = "its approval rule is not the environment's"
    return [Problem("plan-mismatch", layout.PLAN, message)]


def check_growth(seen: Mapping[str, Checkpoint], growth: bytes | None) -> list[Problem]:
    """The log that holds the result continues the one that held the plan; `seen`: kind → head."""
    if "plan" not in seen or "run" not in seen:
        return []  # said elsewhere
    if growth is None:
        return [Problem("missing-log-entry", layout.GROWTH, "the log's growth is not proven")]
    old, new = seen["plan"], seen["run"]
    try:
        proof = proofs.parse_growth(growth)
        if any(one.origin != new.origin for one in seen.values()):
            raise LogError("log-forked", "the proofs are of different logs")
        if any(one != new for kind, one in seen.items() if kind != "plan"):
            raise LogError("log-forked", "findings and result are proven by two checkpoints")
        if proof.old != old.size or proof.checkpoint != new.to_bytes():
            raise LogError("log-forked", "is not from the plan's log to the result's")
        merkle.check_consistency(old.size, old.root, new.size, new.root, proof.path)
    except LogError as error:
        return [Problem(error.code, layout.GROWTH, str(error))]
    except merkle.ProofError as error:
        return [Problem("log-forked", layout.GROWTH, f"the log was changed: {error}")]
    return []


def check_log(
    statements: Mapping[str, Mapping[str, Any]],
    entries: Mapping[str, Entry],
    contents: Contents,
) -> list[Problem]:
    """Each statement is logged, the plan first and before the run started; nothing is missing."""
    problems: list[Problem] = []
    for kind, data in statements.items():
        path = layout.PROOFS[kind]
        entry = entries.get(kind)
        if entry is None:
            if path not in contents:
                message = f"no proof that the {kind} was logged"
                problems.append(Problem("missing-log-entry", path, message))
            continue
        if (entry.kind, entry.run_id) != (kind, data["predicate"]["runId"]):
            message = f"proves the {entry.kind} of {entry.run_id}"
            problems.append(Problem("log-mismatch", path, message))
        elif entry.statement != data["payload_sha256"]:
            message = "another statement was logged"
            problems.append(Problem("log-mismatch", statement.FILES[kind], message))
    for kind, entry in entries.items():
        if kind not in statements:
            message = f"was logged (entry {entry.index}) and is not there"
            problems.append(Problem("missing-statement", statement.FILES[kind], message))
    plan = entries.get("plan")
    if plan is None:
        return problems
    for kind in ("controls", "run"):
        if kind in entries and entries[kind].index < plan.index:
            message = f"the {kind} was logged before the plan"
            problems.append(Problem("plan-after-run", layout.PROOFS[kind], message))
        if kind in statements and statements[kind]["predicate"].get("planEntry") != plan.digest:
            message = "names another log entry as plan"
            problems.append(Problem("plan-mismatch", statement.FILES[kind], message))
    problems += _check_start(statements, plan, entries.get("run"))
    return problems


def _check_start(
    statements: Mapping[str, Mapping[str, Any]], plan: Entry, run: Entry | None
) -> list[Problem]:
    """The run started after its plan was logged, and ended before its result was."""
    if "run" not in statements:
        return []
    recorded = statements["run"]["predicate"].get("run") or {}
    try:
        started = parse_timestamp(recorded["started_at"])
        ended = parse_timestamp(recorded["ended_at"])
    except (KeyError, TypeError, ValueError):
        return [Problem("malformed", layout.RUN, "has no started_at and ended_at with a zone")]
    problems: list[Problem] = []
    if started < plan.time:
        message = (
            f"started at {started.isoformat()}, its plan was logged at {plan.time.isoformat()}"
        )
        problems.append(Problem("plan-after-run", layout.RUN, message))
    if ended < started or (run is not None and run.time < ended):
        problems.append(Problem("impossible-time", layout.RUN, "ends before it starts, or later"))
    return problems


def check_times(
    facts: Any, evaluated_at: str, logged: Entry | None, path: str = layout.FINDINGS
) -> list[Problem]:
    """Facts were judged after they were collected, and before the result was logged."""
    problems: list[Problem] = []
    now = parse_timestamp(evaluated_at)
    latest = max((parse_timestamp(fact["collected_at"]) for fact in facts["facts"]), default=now)
    if now < latest:
        problems.append(Problem("impossible-time", path, "judged before it was seen"))
    if logged is not None and now > logged.time:
        problems.append(Problem("impossible-time", path, "judged after it was logged"))
    return problems


def compare_findings(recorded: Mapping[str, Any], derived: Mapping[str, Any]) -> list[Problem]:
    """The recorded findings, which differ from those that facts and policies lead to: where."""
    theirs = {finding["policy"]: finding for finding in recorded["findings"]}
    ours = {finding["policy"]: finding for finding in derived["findings"]}
    problems: list[Problem] = []
    for name in sorted(set(theirs) | set(ours)):
        path = f"{layout.FINDINGS}#{name}"
        if name not in theirs:
            problems.append(Problem("finding-missing", path, "the policy was judged, not recorded"))
        elif name not in ours:
            problems.append(Problem("finding-invented", path, "no policy leads to it"))
        elif not same_json(theirs[name], ours[name]):
            message = f"recorded {theirs[name]['status']}, the facts give {ours[name]['status']}"
            if theirs[name]["status"] == ours[name]["status"]:
                message = "details differ from what the facts give"
            problems.append(Problem("finding-mismatch", path, message))
    whole = Problem("finding-mismatch", layout.FINDINGS, "differs from what the facts give")
    return problems or [whole]


def compare_run(run: Mapping[str, Any], derived: Mapping[str, Any]) -> list[Problem]:
    """`run.derived`, and what the run repeats of it, is what the raw measurements give."""
    recorded = run.get("derived")
    if not isinstance(recorded, dict):
        return [Problem("malformed", layout.RUN, "has no derived measurements")]
    problems: list[Problem] = []
    for name in sorted(set(recorded) | set(derived)):
        if not same_json(recorded.get(name), derived.get(name)):
            message = f"recorded {recorded.get(name)!r}, raw data gives {derived.get(name)!r}"
            problems.append(Problem("verdict-mismatch", f"{layout.RUN}#derived.{name}", message))
        elif name in run and not same_json(run[name], derived[name]):
            message = f"recorded {run[name]!r}, raw data gives {derived[name]!r}"
            problems.append(Problem("verdict-mismatch", f"{layout.RUN}#{name}", message))
    return problems


def check_expectation(
    summary: Mapping[str, Any], run_id: str, environment: str, not_before: datetime | None
) -> list[Problem]:
    """The bundle is the one that was asked for, not an older or a foreign one."""
    problems: list[Problem] = []
    if run_id and summary["run_id"] != run_id:
        problems.append(
            Problem("other-run", layout.RUN, f"is run {summary['run_id']!r}, asked for {run_id!r}")
        )
    if environment and summary["environment"] != environment:
        message = f"is of {summary['environment']!r}, asked for {environment!r}"
        problems.append(Problem("other-environment", layout.ENVIRONMENT, message))
    if not_before:
        try:
            old = parse_timestamp(summary["started_at"]) < not_before
        except (TypeError, ValueError):
            old = True
        if old:
            message = f"started at {summary['started_at']}, before {not_before.isoformat()}"
            problems.append(Problem("too-old", layout.RUN, message))
    return problems


def check_age(summary: Mapping[str, Any], days: float, now: datetime) -> list[Problem]:
    """The run ended no longer ago than so many days; by others' word, if they date it earlier."""
    try:
        ended = parse_timestamp(summary["ended_at"])
    except (TypeError, ValueError):
        return []  # said elsewhere
    if summary["existed_by"]:
        ended = min(ended, parse_timestamp(summary["existed_by"]))
    return too_old(ended, days, now, layout.RUN)


def too_old(ended: datetime, days: float, now: datetime, path: str) -> list[Problem]:
    """What ended so long ago is at most so many days old."""
    if (now - ended).total_seconds() <= days * 86_400:
        return []
    message = f"ended at {timestamp(ended)}, more than {days:g} days before {timestamp(now)}"
    return [Problem("too-old", path, message)]
