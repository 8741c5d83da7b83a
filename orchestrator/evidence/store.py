"""Record a run's plan before it starts and its result after it ended; export the bundle.

Every method may be called again after a kill -9 and gives the same entry: a statement file is
written (atomically) before its log line, and a line that is already there is not written twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import bindings, bundle, dsse, layout, schedules, statement
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.keys import Signer, key_id, parse_public_key
from orchestrator.evidence.log import Entry, LockedLog, Log, sync_directory, utc_now
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.schema import check


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by a file with this content, on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


class EvidenceStore:
    """The evidence of one state directory: its log and the statements of its runs."""

    def __init__(
        self, state_dir: Path, signer: Signer, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._state = state_dir
        self.log = Log(state_dir / "evidence" / "log.jsonl", clock)
        self._keys = state_dir / "evidence" / "keys"
        self._signer = signer

    def record_schedule(self, record: Mapping[str, Any]) -> Entry:
        """Sign and log a schedule that is applied to an environment (`model.schedule.applied`).

        Raises InputError when it is no schedule.
        """
        payload = schedules.payload_of(record)
        digest = sha256(payload)
        with self.log.locked() as log:
            self._keep_key()
            path = self._state / schedules.FOLDER / f"{digest}.dsse.json"
            if not self._stands(path, payload):
                envelope = dsse.sign(payload, statement.PAYLOAD_TYPE, self._signer)
                write_atomically(path, envelope.to_bytes())
            logged = [one for one in log.entries if one.statement == digest]
            subject = schedules.subject_of(str(record["environment"]))
            return (logged or [log.append(schedules.KIND, subject, digest, self._signer)])[0]

    def record_plan(self, run_dir: Path) -> Entry:
        """Sign and log plan.json, drill.yaml, environment.json and policies/ of a run.

        Keeps the public key in `evidence/keys`. Call it before anything is touched; for a plan that
        is logged already the signer is not asked (a drill may have taken it away). Raises
        InputError when a file is missing, Refused when another plan was logged for this run.
        """
        with self.log.locked() as log:
            if log.find("plan", run_dir.name) is None:
                self._keep_key()
            return self._record(log, "plan", run_dir)

    def record_run(self, run_dir: Path) -> Entry:
        """Sign and log run.json and raw/ (and findings.json as control results) of a run.

        Writes the log's part from plan to run to `log.jsonl` of the run. Returns the run's entry.
        Raises Refused when no plan was logged, or when another result was logged for this run.
        """
        with self.log.locked() as log:
            if (run_dir / "findings.json").is_file():
                self._record(log, "controls", run_dir)
            entry = self._record(log, "run", run_dir)
            plan = log.find("plan", entry.run_id)
            first = plan.index if plan else entry.index
            part = [item.line + b"\n" for item in log.entries if first <= item.index <= entry.index]
        write_atomically(run_dir / "log.jsonl", b"".join(part))
        return entry

    def export(self, run_dir: Path, out: Path) -> Path:
        """Write the evidence bundle of a recorded run to `out`; the same bytes every time.

        A `report.html` in the run directory is taken in. Raises Refused when the run was not
        recorded yet.
        """
        contents = layout.read_run_directory(run_dir)
        missing = [p for p in (layout.RUN_STATEMENT, layout.LOG) if p not in contents]
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

    def _record(self, log: LockedLog, kind: str, run_dir: Path) -> Entry:
        contents = Contents(layout.read_run_directory(run_dir))
        document = statement.need(contents, layout.PLAN)
        check(document, "plan", file=layout.PLAN)
        run_id = str(document["run_id"])
        for problem in bindings.check_plan(document, contents):
            raise InputError(problem.message, file=problem.path)
        plan = log.find("plan", run_id)
        if kind != "plan" and plan is None:
            raise Refused(
                f"run {run_id} has no plan in the evidence log",
                "a run counts only when its plan was logged before it: start a new run",
            )
        bound = plan.digest if plan and kind != "plan" else None
        payload = statement.build(kind, contents, bound)
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
        return logged or log.append(kind, run_id, sha256(payload), self._signer)

    def _stands(self, path: Path, payload: bytes) -> bool:
        """Whether the statement was already written, whole, by an earlier attempt."""
        try:
            return dsse.parse(path.read_bytes()).payload == payload
        except (OSError, dsse.SignatureError):
            return False
