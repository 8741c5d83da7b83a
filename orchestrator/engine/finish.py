"""The evidence of a run: its plan before it, its facts, findings and result after it.

Each function may be called again after a kill -9, and then changes nothing that stands.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect import collect_wanted
from orchestrator.drivers.evidence_bucket import evidence_bucket
from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.secrets import handed_out
from orchestrator.engine.evidence import evidence_store
from orchestrator.engine.mirror import mirror_all, mirror_to
from orchestrator.engine.runs import Run
from orchestrator.evidence import layout, redaction
from orchestrator.evidence.contents import contents_of
from orchestrator.evidence.files import write_atomically as replace_file
from orchestrator.evidence.layout import read_run_directory, rules_of
from orchestrator.evidence.persons import attestations, waivers
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.environment import load_environment
from orchestrator.model.errors import AnlanError, InfrastructureError, Refused
from orchestrator.model.fact import facts_document, timestamp
from orchestrator.model.schema import check
from orchestrator.policy import rederive_findings, rederive_recovered, wanted_by_run
from orchestrator.report import render
from orchestrator.steps.context import Context
from orchestrator.steps.journal import StepJournal
from orchestrator.verdict import derive, started_at

RUN_SCHEMA = "anlan.run/v1"


def bundle_path(state: Path, run_id: str) -> Path:
    """Where the evidence bundle of a run is."""
    return state / layout.BUNDLES / f"{run_id}.zip"


def is_ended(journal: StepJournal) -> bool:
    """Whether the journal is closed: nothing may be written to it any more."""
    return journal.find("mark", "ended") is not None


def is_missed(journal: StepJournal) -> bool:
    """Whether the run was recorded as missed: none of its steps may begin any more."""
    return any(entry["kind"] == "missed" for entry in journal.entries)


def record_plan(run: Run, state: Path, context: Context) -> list[str]:
    """Sign and log the plan, and put the log at every site while nothing was touched yet.

    Returns who was asked to vouch for the log and did not, and the sites that could not take it: a
    drill may be about one that is down, and the result brings them the plan too. Raises
    InfrastructureError when it cannot be logged: then nothing may be touched.
    """
    warnings: list[str] = []
    store = evidence_store(state, context.environment, context.secrets, warnings.append)
    store.record_plan(run.directory)
    if run.journal.entries:
        return warnings  # the drill is under way: it waits for no site
    found = mirror_all(state, context.environment, context.secrets, patient=False)
    return warnings + [
        f"{one.site} did not get the plan's log: {one.problem}" for one in found if one.problem
    ]


def conclude(run: Run, context: Context) -> None:
    """Collect facts, judge them, close the journal and write run.json."""
    raw = context.raw
    if not (raw / "facts.json").exists():
        context.journal.write("collecting")
        rules = rules_of(read_run_directory(run.directory))
        wanted = wanted_by_run(rules, context.environment.sites)
        facts = collect_wanted(context.environment, context.secrets, wanted)
        _write(raw / "facts.json", facts_document(facts))
    if not (run.directory / "findings.json").exists():
        redact_raw(run)
        _judge(run, context, datetime.now(UTC))
    _close(run, context)


def redact_raw(run: Run) -> None:
    """Put marks in the place of secrets in the raw data, and list them, before all is judged.

    Nothing was derived from the data or signed yet. A file is replaced whole, and the list is made
    of the marks: a kill -9 between any two of these changes nothing.
    """
    given = handed_out()
    for path, content in read_run_directory(run.directory).items():
        if redaction.is_redactable(path):
            clean = redaction.redact(content, given)
            if clean != content:
                replace_file(run.directory / path, clean)
    listed = redaction.redacted(read_run_directory(run.directory))
    if listed["redactions"]:
        _write(run.directory / redaction.FILE, listed)


def _judge(run: Run, context: Context, now: datetime) -> None:
    """Judge the facts, by the waivers that the environment has now; the run keeps those."""
    environment = json.loads((run.directory / "environment.json").read_text())
    rule, name = environment.get("approvals"), environment["name"]
    folder = run.directory / layout.WAIVERS
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it had judged
    there = waivers.read_folder(context.environment.root)
    state = run.directory.parent.parent
    judged = waivers.judge(there, rule, name, now)
    judged = attestations.standing(state, judged, log_of(state, name).entries())
    for file, waiver in judged.waivers.items():
        if waiver in judged.counting:
            folder.mkdir(exist_ok=True)
            write_atomically(folder / file, there[file].decode(), mode=0o644)
    contents = contents_of(read_run_directory(run.directory))
    findings = rederive_findings(
        rules_of(contents),
        contents.facts(layout.FACTS, "facts"),
        environment,
        now,
        judged.counting,
    )
    _write(run.directory / "findings.json", findings)


def miss(run: Run, state: Path, reason: str) -> None:
    """Record a run that never began: its plan, and a result that says why it was missed.

    Touches nothing of the environment but its evidence. Raises InfrastructureError when nothing
    can be signed now: call it again later.
    """
    environment = load_environment(run.directory / "environment.json")
    context = Context(environment, run.plan, run.directory, run.journal, token=0)
    record_plan(run, state, context)
    journal = context.journal
    if not journal.entries:
        journal.open_attempt()
    if not is_missed(journal):
        journal.write("missed", reason=reason)
    if not is_ended(journal):
        redact_raw(run)
    _close(run, context)
    publish(run, state, context)


def _close(run: Run, context: Context) -> None:
    """Close the journal, and derive run.json from it."""
    if not is_ended(context.journal):
        context.journal.note("end", {"utc": timestamp(datetime.now(UTC))})
        context.mark("ended")
    _write(run.directory / "run.json", _result(run, context))


def _result(run: Run, context: Context) -> dict[str, Any]:
    contents = contents_of(read_run_directory(run.directory))
    findings = run.directory / "findings.json"
    judged = json.loads(findings.read_text()) if findings.exists() else None
    raw = {**contents.raw(), "findings": judged}
    if kept := raw.get("recovered_facts"):
        facts = partial(contents.facts, layout.RECOVERED, "recovered-facts")
        environment = json.loads(contents[layout.ENVIRONMENT])
        rules = rules_of(contents)
        raw["recovered_findings"] = rederive_recovered(rules, run.plan, kept, facts, environment)
    derived = derive(run.plan, raw)
    result = {
        "schema": RUN_SCHEMA,
        "run_id": run.run_id,
        "started_at": timestamp(started_at(raw["steps"])),
        "ended_at": (context.noted("end") or {})["utc"],
        "attempts": sum(entry["kind"] == "header" for entry in raw["steps"]),
        "verdict": derived["verdict"],
        "exit_code": derived["exit_code"],
        "derived": derived,
    }
    check(result, "run", file=f"{run.run_id}/run.json")
    return result


def publish(run: Run, state: Path, context: Context) -> list[str]:
    """Sign and log the result, write report and bundle, and put bundle and log at every site.

    Returns the sites that could not take them, and who did not vouch for the log. Raises
    InfrastructureError when nothing can be signed, or no site takes them: resume the run when it
    can.
    """
    warnings: list[str] = []
    store = evidence_store(state, context.environment, context.secrets, warnings.append)
    store.record_run(run.directory)
    write_atomically(run.directory / "report.html", render(run.directory), mode=0o644)
    bundle = store.export(run.directory, bundle_path(state, run.run_id))
    refused, noted = [], []
    for name, site in context.environment.sites.items():
        try:
            bucket = evidence_bucket(context.environment, site, context.secrets)
            bucket.put_once(bundle.name, bundle.read_bytes())
            mirror_to(bucket, name, state, context.environment.name)
        except Refused as error:  # it has the bundle; which log goes on is for a person to say
            noted.append(f"{name}: {error}")
        except AnlanError as error:
            refused.append(f"{name}: {error.what}")
    if len(refused) == len(context.environment.sites):
        raise InfrastructureError(
            f"no site's object store keeps the bundle {bundle} and its log: {'; '.join(refused)}",
            f"bring one back, then `anlan drill resume {run.run_id}`",
        )
    return refused + noted + warnings


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n", mode=0o644)
