"""Verify an evidence bundle offline, trusting nothing that came with it.

In this order: limits and paths, the log (which says when), digests, signatures, what each statement
binds, and then every verdict derived again from the raw facts. All problems are reported, not just
the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.evidence import (
    bindings,
    bundle,
    dsse,
    layout,
    patience,
    proven,
    redaction,
    statement,
)
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.persons import approvals, waivers
from orchestrator.evidence.proven import Logged
from orchestrator.evidence.status import status_of
from orchestrator.evidence.summary import summarize
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.trust import signatures
from orchestrator.evidence.trust import time as trusted_time
from orchestrator.evidence.trust.signatures import Signed
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.verification import Expectation, Rederive, Verification
from orchestrator.model.canonical import StrictJsonError, canonical_loads, same_json, sha256
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.schema import check
from orchestrator.model.waiver import Waiver


class _Verifier:
    def __init__(
        self,
        contents: Contents,
        trust: Trust,
        rule: Mapping[str, Any] | None,
    ) -> None:
        self.contents = contents
        self.rule = rule
        self.trust = trust
        self.problems: list[Problem] = []
        self.signed: list[Signed] = []
        self.logged = Logged({}, {}, {}, (), ())

    def say(self, code: str, path: str, message: str) -> None:
        self.problems.append(Problem(code, path, message))

    def payload(self, path: str, payload_type: str, kind: str) -> bytes | None:
        """The payload of an envelope, None (and a problem) without one; whose it is is said apart.

        `kind` is the entry of the log that it goes with.
        """
        if path not in self.contents:
            self.say("missing-statement", path, "the signed statement is missing")
            return None
        try:
            envelope = dsse.parse(self.contents[path])
        except dsse.SignatureError as error:
            self.say("bad-signature", path, str(error))
            return None
        moment = self.logged.moments.get(kind)
        checks = [signatures.check_envelope]
        if payload_type == bundle.MANIFEST_TYPE:
            checks.append(signatures.check_countersigners)
            moment = replace(moment, later=True) if moment else None
        for check_signers in checks:
            signed, problems = check_signers(envelope, payload_type, self.trust, moment, path)
            self.signed += signed
            self.problems += problems
        bad = any(one.path == path and one.code == "bad-signature" for one in self.problems)
        return None if bad else envelope.payload

    def canonical(self, path: str, content: bytes) -> Any:
        """Parsed canonical JSON, `path` for the problem; None and a problem when it is none."""
        try:
            return canonical_loads(content)
        except StrictJsonError as error:
            self.say("not-strict-json", path, str(error))
            return None

    def json(self, path: str) -> Any:
        """Parsed JSON of a file; None and a problem when it is none."""
        if path not in self.contents:
            self.say("missing-file", path, "the file is missing")
            return None
        try:
            return self.contents.json(path)
        except StrictJsonError as error:
            self.say("not-strict-json", path, str(error))
            return None

    def document(self, path: str, schema: str) -> dict[str, Any] | None:
        """A file that fits its schema; None and a problem when it does not."""
        if self.json(path) is None:
            return None
        try:
            data: dict[str, Any] = self.contents.document(path, schema)
        except InputError as error:
            self.say("malformed", path, str(error))
            return None
        return data

    def manifest(self) -> dict[str, Any] | None:
        signed = self.payload(layout.MANIFEST_ENVELOPE, bundle.MANIFEST_TYPE, "run")
        if layout.MANIFEST not in self.contents:
            self.say("missing-file", layout.MANIFEST, "the manifest is missing")
            return None
        if signed is not None and signed != self.contents[layout.MANIFEST]:
            self.say("manifest-mismatch", layout.MANIFEST, "differs from the signed manifest")
        data = self.canonical(layout.MANIFEST, self.contents[layout.MANIFEST])
        if data is None:
            return None
        try:
            check(data, "manifest")
        except InputError as error:
            self.say("malformed", layout.MANIFEST, str(error))
            return None
        self.problems += bindings.check_files(data["files"], self.contents)
        manifest: dict[str, Any] = data
        return manifest

    def statements(self) -> dict[str, dict[str, Any]]:
        """Every statement that could be read, by kind; signed or not (that is said apart)."""
        result: dict[str, dict[str, Any]] = {}
        plan = self.logged.entries.get("plan")
        for kind, path in statement.FILES.items():
            if kind == "controls" and layout.FINDINGS not in self.contents:
                if path in self.contents:
                    self.say("missing-file", layout.FINDINGS, "control results without findings")
                continue
            payload = self.payload(path, statement.PAYLOAD_TYPE, kind)
            if payload is None:
                continue
            # Nearly always it is, byte for byte, the statement of these files: then it holds.
            data = statement.same(kind, self.contents, plan.digest if plan else None, payload)
            if data is None:
                data = self.other_statement(kind, path, payload)
            if data is not None:
                result[kind] = {**data, "payload_sha256": sha256(payload)}
        return result

    def other_statement(self, kind: str, path: str, payload: bytes) -> dict[str, Any] | None:
        """A statement that is not that of these files, and where it differs; None if it is none."""
        data: dict[str, Any] | None = self.canonical(path, payload)
        if data is None:
            return None
        try:
            check(data, "statement")
        except InputError as error:
            self.say("malformed", path, str(error))
            return None
        self.problems += bindings.check_statement(kind, data, self.contents)
        return data

    def log(self) -> dict[str, Entry]:
        """The entries that are proven to be in the log, by the kind that each is there for."""
        self.logged = proven.read(self.contents, self.trust)
        self.signed += self.logged.signed
        self.problems += self.logged.problems
        return dict(self.logged.entries)

    def order(self, statements: Mapping[str, Mapping[str, Any]]) -> None:
        """What others say of the time fits what the log and the run say."""
        run = statements.get("run", {}).get("predicate", {}).get("run")
        try:
            started = parse_timestamp(run["started_at"])
        except (KeyError, TypeError, ValueError):
            started = None  # said elsewhere
        found, limits = self.logged, self.trust.thresholds
        self.problems += trusted_time.check_order(found.entries, found.vouched, limits, started)

    def findings(self, rederive: Rederive, entries: Mapping[str, Entry]) -> dict[str, Any] | None:
        """Derive the findings again; None when the bundle has none or they cannot be."""
        if layout.FINDINGS not in self.contents:
            return None
        recorded, environment, facts = (
            self.json(path) for path in (layout.FINDINGS, layout.ENVIRONMENT, layout.FACTS)
        )
        if recorded is None or environment is None or facts is None:
            return None
        try:
            now = parse_timestamp(recorded["evaluated_at"])
            rules = layout.rules_of(self.contents)
            waived = self.waivers(environment, now)
            found = self.contents.facts(layout.FACTS, "facts")
            derived = rederive.findings(rules, found, environment, now, waived)
            self.problems += bindings.check_times(
                facts, recorded["evaluated_at"], entries.get("controls")
            )
        except Exception as error:  # noqa: BLE001  (hostile input in a caller's function)
            if self.document(layout.FINDINGS, "finding") is not None:
                self.say("cannot-rederive", layout.FINDINGS, f"cannot be derived again: {error!r}")
            return None
        if same_json(recorded, derived):
            self.contents.take_to_fit(layout.FINDINGS, "finding")
            return derived
        if self.document(layout.FINDINGS, "finding") is None:
            return None
        self.problems += bindings.compare_findings(recorded, derived)
        return derived

    def waivers(self, environment: Mapping[str, Any], now: datetime) -> tuple[Waiver, ...]:
        """The waivers that counted, by the auditor's approval rule if there is one."""
        rule = self.rule or environment.get("approvals")
        kept = layout.waivers_of(self.contents)
        judged = waivers.judge(kept, rule, environment["name"], now, folder=layout.WAIVERS)
        self.problems += judged.problems
        counting = {waiver.digest for waiver in judged.counting}
        names = {
            f"{layout.WAIVERS}{name}": waiver.approver
            for name, waiver in judged.waivers.items()
            if waiver.digest in counting
        }
        moment = self.logged.moments.get("run")
        self.problems += signatures.check_approvers(names, rule, self.trust, moment)
        return judged.counting

    def drill(self, rederive: Rederive, findings: dict[str, Any] | None) -> dict[str, Any] | None:
        """Derive the verdict again; None when it cannot be."""
        plan, run = self.document(layout.PLAN, "plan"), self.document(layout.RUN, "run")
        self.problems += bindings.check_plan(plan, self.contents)
        if plan is None or run is None:
            return None
        try:
            said = self.contents.raw()
            self.problems += approvals.check_approvals(plan, said, self.rule)
            self.approvers(plan, said)
        except Exception as error:  # noqa: BLE001  (hostile input)
            self.say("approval-malformed", layout.PLAN, f"approvals cannot be judged: {error!r}")
        try:
            raw = {**self.contents.raw(), "findings": findings}
            if kept := raw.get("recovered_facts"):
                facts = partial(self.contents.facts, layout.RECOVERED, "recovered-facts")
                rules, about = layout.rules_of(self.contents), self.json(layout.ENVIRONMENT)
                raw["recovered_findings"] = rederive.recovered(rules, plan, kept, facts, about)
                at = kept["judged_at"]
                self.problems += bindings.check_times(kept, at, None, layout.RECOVERED)
            derived = rederive.drill(plan, raw)
        except Exception as error:  # noqa: BLE001  (hostile input in a caller's function)
            self.say("cannot-rederive", layout.RUN, f"cannot be derived again: {error!r}")
            return None
        self.problems += bindings.compare_run(run, derived)
        return derived

    def approvers(self, plan: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
        """Whoever approved the plan has a key that the trust takes for an approver's."""
        if "approvals" not in plan:
            return
        counting = approvals.judge(plan, approvals.decisions_of(raw)).approved
        names = {f"{layout.APPROVALS}{name}.json": name for name in counting}
        moment = self.logged.moments.get("run")
        self.problems += signatures.check_approvers(names, plan["approvals"], self.trust, moment)

    def report(self, rederive: Rederive) -> None:
        """Render the report again, if all it shows holds: it must say what the data says."""
        if self.problems or rederive.report is None or layout.REPORT not in self.contents:
            return
        try:
            rendered = rederive.report(self.contents)
        except Exception as error:  # noqa: BLE001  (hostile input in a caller's function)
            self.say("cannot-rederive", layout.REPORT, f"cannot be rendered again: {error!r}")
            return
        if rendered is not None and rendered != self.contents[layout.REPORT]:
            self.say("report-mismatch", layout.REPORT, "is not what the data renders to")


def verify(
    source: Path | bytes,
    trust: Trust,
    rederive: Rederive,
    *,
    expect: Expectation | None = None,
    limits: bundle.Limits | None = None,
) -> Verification:
    """Return whether a bundle proves what it says; offline, nothing is written.

    `trust` must come from outside the bundle. VALID: everything holds. INVALID: something was
    changed or does not follow. UNTRUSTED: not signed, or vouched for, by those who must have.
    INCOMPLETE: a part is missing. STALE: older than asked for. Raises InputError when the file
    cannot be read; never for what the bundle holds.
    """
    limits = limits or bundle.Limits()
    try:
        contents = Contents(bundle.unpack(_read(source, limits.archive_bytes + 1), limits))
    except bundle.PackageError as error:
        problem = Problem(error.code, error.path, str(error))
        return Verification("INVALID", (problem,))
    rule = expect.approvals if expect and expect.approvals else trust.approvals
    verifier = _Verifier(contents, trust, rule)
    try:
        with patience.at_most(limits.seconds):
            summary = _judge(verifier, rederive, expect)
    except patience.OutOfPatience:
        verifier.say("too-costly", "", f"not verified within {limits.seconds:g} s")
        summary = {}
    except Exception as error:  # noqa: BLE001  (hostile input: whatever it breaks, it is not valid)
        verifier.say("malformed", "", f"cannot be judged: {error!r}")
        summary = {}
    problems = tuple(dict.fromkeys(verifier.problems))
    return Verification(status_of(one.code for one in problems), problems, summary)


def _judge(verifier: _Verifier, rederive: Rederive, expect: Expectation | None) -> dict[str, Any]:
    """Add every problem to the verifier's; return the summary."""
    contents = verifier.contents
    entries = verifier.log()
    manifest = verifier.manifest()
    statements = verifier.statements()
    verifier.order(statements)
    verifier.problems += bindings.check_run_identity(manifest, statements, contents)
    verifier.problems += bindings.check_log(statements, entries, contents)
    findings = verifier.findings(rederive, entries)
    derived = verifier.drill(rederive, findings)
    verifier.problems += redaction.check_secrets(contents)
    verifier.report(rederive)
    expect, trust = expect or Expectation(), verifier.trust
    signed = tuple(verifier.signed)
    summary = summarize(
        contents, trust, verifier.logged, signed, derived=derived, findings=findings
    )
    for environment in dict.fromkeys((expect.environment, trust.environment)):
        verifier.problems += bindings.check_expectation(
            summary, expect.run_id, environment, expect.not_before
        )
    if trust.max_age_days is not None:
        verifier.problems += bindings.check_age(
            summary, trust.max_age_days, expect.at or datetime.now(UTC)
        )
    return summary


def _read(source: Path | bytes, most_bytes: int) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        with source.open("rb") as stream:
            return stream.read(most_bytes)
    except OSError as error:
        raise bundle.unreadable(source, error) from error
