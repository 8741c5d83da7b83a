"""Record a run's plan before it starts and its result after it ended; export the bundle.

Every method may be called again after a kill -9 and gives the same entry: a statement file is
written (atomically) before its log entry, and what is logged already is not logged twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import bindings, bundle, dsse, layout, redaction, schedules, statement
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.files import write_atomically
from orchestrator.evidence.keys import Signer, key_id, parse_public_key
from orchestrator.evidence.period import bundle as period_bundle
from orchestrator.evidence.retained.kept import ToLog, file_of
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.log import LockedLog, Log, log_of, utc_now
from orchestrator.evidence.tlog.proofs import parse_proof
from orchestrator.evidence.witness import vouching
from orchestrator.evidence.witness.vouching import Outcome, Vouchers
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.schema import check


class EvidenceStore:
    """The evidence of one state directory: the logs of its environments, the statements of runs."""

    def __init__(
        self,
        state_dir: Path,
        signer: Signer,
        clock: Callable[[], datetime] = utc_now,
        *,
        vouchers: Vouchers | None = None,
        warn: Callable[[str], None] = lambda _: None,
        spread: Callable[[], None] = lambda: None,
    ) -> None:
        """`vouchers` are asked after each append; `warn` is told of each that does not vouch.

        `spread` takes the log to the sites; it is called when a statement of no run was logged.
        """
        self._state = state_dir
        self._clock = clock
        self._vouchers = vouchers or Vouchers()
        self._warn = warn
        self._spread = spread
        self._keys = state_dir / layout.KEYS
        self._signer = signer

    def record_schedule(self, record: Mapping[str, Any]) -> Entry:
        """Sign and log a schedule that is applied to an environment (`model.schedule.applied`).

        Raises InputError when it is no schedule.
        """
        environment = str(record["environment"])
        payload, subject = schedules.payload_of(record), schedules.subject_of(environment)
        one = ToLog(schedules.KIND, subject, payload, folder=schedules.FOLDER)
        return self.record_statement(environment, one)

    def record_statement(self, environment: str, one: ToLog) -> Entry:
        """Keep a statement and log it, signed here unless a person has; the same is logged once.

        For one that is logged already nobody is asked. Raises InfrastructureError when it cannot
        be signed: then it is not logged.
        """
        digest = sha256(one.payload)
        path = self._state / file_of(digest, one.folder)
        with self._log(environment).locked() as log:
            there = [e for e in log.entries if (e.kind, e.statement) == (one.kind, digest)]
            if there and self._stands(path, one.payload):
                return there[0]
            self._keep_key()
            if not self._stands(path, one.payload):
                write_atomically(path, one.envelope or self._sign(one.payload))
            if there:
                return there[0]
            entry = log.append([(one.kind, one.subject, digest)], self._signer)[0]
            self._vouch(log)
        self._spread()
        return entry

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
            self._vouch(log)
            self._keep_tokens(log, "run", run_dir)
            write_atomically(run_dir / layout.GROWTH, log.growth(size))
            for entry in entries:
                write_atomically(run_dir / layout.PROOFS[entry.kind], log.proof(entry))
            return entries[-1]

    def cosign(self, environment: str) -> list[Outcome]:
        """Ask who has not vouched yet for the log of an environment as it is now.

        Returns how each one stands. Raises InputError when nothing was logged, or nobody is named.
        """
        if not (self._vouchers.witnesses or self._vouchers.authorities):
            raise InputError(
                f"{environment} names no witness and no timestamp authority",
                "name them in the file of its setting `evidence`, then `anlan up`",
            )
        if not self._log(environment).entries():
            raise InputError(f"nothing was logged for {environment} yet", "run a drill")
        with self._log(environment).locked() as log:
            return self._vouch(log)

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

    def export_period(
        self,
        environment: str,
        since: datetime,
        until: datetime,
        out: Path,
        progress: period_bundle.Progress = lambda done, total: None,
    ) -> period_bundle.Exported:
        """Write the bundle of an environment over [`since`, `until`), as `period_bundle.export`."""
        period_bundle.checked_period(since, until, self._clock())
        taken = period_bundle.snapshot(self._state, environment)
        return period_bundle.export(
            self._state, taken, since, until, self._signer, out=out, progress=progress
        )

    def _sign(self, payload: bytes) -> bytes:
        return dsse.sign(payload, statement.PAYLOAD_TYPE, self._signer).to_bytes()

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
                write_atomically(path, self._sign(payload))
            if logged is None:
                new.append((kind, run_id, sha256(payload)))
        log.append(new, self._signer)
        return [found for kind in kinds if (found := log.find(kind, run_id))]

    def _prove(self, log: LockedLog, kind: str, entry: Entry, run_dir: Path) -> None:
        """Write the proof that the log holds an entry, unless it stands: the oldest says most."""
        path = run_dir / layout.PROOFS[kind]
        if not path.exists():
            self._vouch(log)
            self._keep_tokens(log, kind, run_dir)
            write_atomically(path, log.proof(entry))

    def _vouch(self, log: LockedLog) -> list[Outcome]:
        """Ask who vouches for the log as it is now; what went wrong is told, never raised."""
        outcomes = vouching.vouch(log, self._vouchers, self._clock())
        for one in outcomes:
            if one.result != "vouched":
                self._warn(str(one))
        return outcomes

    def _keep_tokens(self, log: LockedLog, kind: str, run_dir: Path) -> None:
        vouching.keep_tokens(log, self._vouchers.authorities, run_dir, kind)

    def _stands(self, path: Path, payload: bytes) -> bool:
        """Whether the statement was already written, whole, by an earlier attempt."""
        try:
            return dsse.parse(path.read_bytes()).payload == payload
        except (OSError, dsse.SignatureError):
            return False
