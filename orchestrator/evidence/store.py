"""Record a run's plan before it starts and its result after it ended; export the bundle.

Every method may be called again after a kill -9 and gives the same entry: a statement file is
written (atomically) before its log entry, and what is logged already is not logged twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import (
    bindings,
    bundle,
    dsse,
    layout,
    note,
    redaction,
    schedules,
    statement,
)
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.entries import Entry
from orchestrator.evidence.files import write_atomically
from orchestrator.evidence.keys import Signer, key_id, parse_public_key
from orchestrator.evidence.log import LockedLog, Log, log_of, utc_now
from orchestrator.evidence.proofs import parse_proof
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.schema import check


class EvidenceStore:
    """The evidence of one state directory: the logs of its environments, the statements of runs."""

    def __init__(
        self, state_dir: Path, signer: Signer, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._state = state_dir
        self._clock = clock
        self._keys = state_dir / "evidence" / "keys"
        self._signer = signer

    def record_schedule(self, record: Mapping[str, Any]) -> Entry:
        """Sign and log a schedule that is applied to an environment (`model.schedule.applied`).

        Raises InputError when it is no schedule.
        """
        payload = schedules.payload_of(record)
        digest = sha256(payload)
        with self._log(str(record["environment"])).locked() as log:
            self._keep_key()
            path = self._state / schedules.FOLDER / f"{digest}.dsse.json"
            if not self._stands(path, payload):
                envelope = dsse.sign(payload, statement.PAYLOAD_TYPE, self._signer)
                write_atomically(path, envelope.to_bytes())
            subject = schedules.subject_of(str(record["environment"]))
            logged = [one for one in log.entries if one.statement == digest]
            return (logged or log.append([(schedules.KIND, subject, digest)], self._signer))[0]

    def record_plan(self, run_dir: Path) -> Entry:
        """Sign and log plan.json, drill.yaml, environment.json and policies/ of a run.

        Keeps the public key in `evidence/keys`. Call it before anything is touched; for a plan that
        is logged already the signer is not asked (a drill may have taken it away). Writes the
        proof that the log holds it. Raises InputError when a file is missing, Refused when another
        plan was logged for this run.
        """
        contents = Contents(layout.read_run_directory(run_dir))
        with self._log_of(contents).locked() as log:
            if log.find("plan", run_dir.name) is None:
                self._keep_key()
            entry = self._record(log, ("plan",), run_dir, contents)[0]
            self._prove(log, "plan", entry, run_dir)
            return entry

    def record_run(self, run_dir: Path) -> Entry:
        """Sign and log run.json and raw/ (and findings.json as control results) of a run.

        Writes the proofs that the log holds them, and that it continues the log that the plan was
        in. Returns the run's entry. Raises Refused when no plan was logged, when another result
        was logged for this run, or when a secret is in what would be signed.
        """
        contents = Contents(layout.read_run_directory(run_dir))
        redaction.refuse(contents)
        with self._log_of(contents).locked() as log:
            kinds = ("controls", "run") if layout.FINDINGS in contents else ("run",)
            entries = self._record(log, kinds, run_dir, contents)
            if (run_dir / layout.PROOFS["run"]).exists():  # written last: all are there
                return entries[-1]
            plan = log.find("plan", entries[-1].run_id)
            if plan is not None:
                self._prove(log, "plan", plan, run_dir)
            known = (run_dir / layout.PROOFS["plan"]).read_bytes()
            size = note.parse(parse_proof(known).checkpoint).size
            write_atomically(run_dir / layout.GROWTH, log.growth(size))
            for entry in entries:
                write_atomically(run_dir / layout.PROOFS[entry.kind], log.proof(entry))
            return entries[-1]

    def export(self, run_dir: Path, out: Path) -> Path:
        """Write the evidence bundle of a recorded run to `out`; the same bytes every time.

        A `report.html` in the run directory is taken in. Raises Refused when the run was not
        recorded yet.
        """
        contents = layout.read_run_directory(run_dir)
        missing = [p for p in (layout.RUN_STATEMENT, layout.PROOFS["run"]) if p not in contents]
        if missing:
            raise Refused(
                f"{run_dir.name} has no {', '.join(missing)}: its result was not recorded",
                "resume the run (`anlan drill resume`) so that it ends and is recorded",
            )
        write_atomically(out, bundle.pack(contents, self._signer))
        return out

    def _keep_key(self) -> None:
        """Keep the public key by its id: the log outlives the environment that signed it."""
        pem = self._signer.public_key_pem()
        name = key_id(parse_public_key(pem.encode())).removeprefix("sha256:")
        path = self._keys / f"{name}.pub"
        if not path.exists():
            write_atomically(path, pem.encode())

    def _log(self, environment: str) -> Log:
        return log_of(self._state, environment, self._clock)

    def _log_of(self, contents: Contents) -> Log:
        plan = statement.need(contents, layout.PLAN)
        check(plan, "plan", file=layout.PLAN)
        return self._log(str(plan["environment"]["name"]))

    def _record(
        self, log: LockedLog, kinds: Sequence[str], run_dir: Path, contents: Contents
    ) -> list[Entry]:
        """The entries of statements of these kinds; those that are not logged yet are."""
        document = statement.need(contents, layout.PLAN)
        run_id = str(document["run_id"])
        for problem in bindings.check_plan(document, contents):
            raise InputError(problem.message, file=problem.path)
        plan = log.find("plan", run_id)
        if "plan" not in kinds and plan is None:
            raise Refused(
                f"run {run_id} has no plan in the evidence log",
                "a run counts only when its plan was logged before it: start a new run",
            )
        new: list[tuple[str, str, str]] = []
        for kind in kinds:
            payload = statement.build(kind, contents, plan.digest if plan else None)
            logged = log.find(kind, run_id)
            if logged and logged.statement != sha256(payload):
                raise Refused(
                    f"the {kind} of run {run_id} was already logged with other content "
                    f"(entry {logged.index})",
                    "evidence is never replaced: start a new run",
                )
            path = run_dir / "statements" / f"{kind}.dsse.json"
            if not self._stands(path, payload):
                envelope = dsse.sign(payload, statement.PAYLOAD_TYPE, self._signer)
                write_atomically(path, envelope.to_bytes())
            if logged is None:
                new.append((kind, run_id, sha256(payload)))
        log.append(new, self._signer)
        return [found for kind in kinds if (found := log.find(kind, run_id))]

    def _prove(self, log: LockedLog, kind: str, entry: Entry, run_dir: Path) -> None:
        """Write the proof that the log holds an entry, unless it stands: the oldest says most."""
        path = run_dir / layout.PROOFS[kind]
        if not path.exists():
            write_atomically(path, log.proof(entry))

    def _stands(self, path: Path, payload: bytes) -> bool:
        """Whether the statement was already written, whole, by an earlier attempt."""
        try:
            return dsse.parse(path.read_bytes()).payload == payload
        except (OSError, dsse.SignatureError):
            return False
