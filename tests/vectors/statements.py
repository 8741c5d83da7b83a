"""A signed statement of every predicate type, as the commands make them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from run_samples import Sample, record

from orchestrator.evidence import EvidenceStore, LocalSigner, dsse, predicates, statement
from orchestrator.evidence.persons import attestations, waivers
from orchestrator.evidence.persons.access_reviews import KEEP, REMOVE, Decision, sign_review
from orchestrator.evidence.persons.approvals import decide
from orchestrator.evidence.persons.waivers import make
from orchestrator.evidence.retained import holds, tombstones
from orchestrator.evidence.retained.retention import Candidate
from orchestrator.evidence.schedules import FOLDER
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.access import Right
from orchestrator.model.canonical import canonical_loads, strict_loads
from orchestrator.model.fact import timestamp
from orchestrator.model.schedule import applied
from tests.vectors.fixed import ENVIRONMENT, PERSONS, rule

SAMPLE = Sample(rule=rule())
NOW = SAMPLE.started_at
SCHEDULE = {
    "schema": "anlan.schedule/v1",
    "title": {"en": "A drill a week", "zh": "每周一次演练"},
    "entries": [
        {"id": "failover", "drill": "failover", "cron": "0 4 * * 0", "start_within_minutes": 120}
    ],
}


@dataclass(frozen=True)
class Signed:
    """An envelope, and the name of whose key signed it (`environment`, or a person's)."""

    envelope: bytes
    signer: str

    @property
    def statement(self) -> dict[str, Any]:
        """The statement in it."""
        found: dict[str, Any] = canonical_loads(dsse.parse(self.envelope).payload)
        return found


def make_statements() -> dict[str, Signed]:
    """Return predicate type → a signed statement of it."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        run = record(state, SAMPLE, ENVIRONMENT)
        store = EvidenceStore(state, ENVIRONMENT)
        store.record_schedule(applied(SCHEDULE, "local", "VIP", "operator-1", NOW))
        (schedule,) = (state / FOLDER).iterdir()
        found = {
            type_: Signed((run / "statements" / f"{kind}.dsse.json").read_bytes(), "environment")
            for kind, type_ in statement.PREDICATES.items()
        }
        found[predicates.SCHEDULE] = Signed(schedule.read_bytes(), "environment")
        plan = strict_loads((run / "plan.json").read_bytes())
        entries = log_of(state, "local").entries()
    found[predicates.APPROVAL] = Signed(_approval(plan), "li-wei")
    found[predicates.WAIVER] = Signed(_waiver(), "wang")
    found[predicates.ACCESS_REVIEW] = Signed(_review(), "wang")
    found[predicates.WAIVER_WITHDRAWAL] = Signed(_withdrawal(), "wang")
    plan_entry = next(one for one in entries if one.kind == "plan")
    held = holds.payload_of(
        "local", plan_entry, held=True, by="operator-1", reason="matter 4711", at=NOW
    )
    found[predicates.LEGAL_HOLD] = _by_environment(held)
    found[predicates.TOMBSTONE] = _by_environment(_tombstone(entries))
    return {type_: found[type_] for type_ in predicates.SCHEMAS}


def _by_environment(payload: bytes) -> Signed:
    envelope = dsse.sign(payload, statement.PAYLOAD_TYPE, ENVIRONMENT)
    return Signed(envelope.to_bytes(), "environment")


def _withdrawal() -> bytes:
    waiver = waivers.read(_waiver(), rule())
    key = PERSONS["wang"]
    return attestations.withdraw(rule(), waiver, key, reason="the disk is there", now=NOW)


def _tombstone(entries: list[Entry]) -> bytes:
    logged = {one.kind: one.statement for one in entries if one.kind in statement.FILES}
    ended = NOW + timedelta(minutes=1)
    run = Candidate(SAMPLE.run_id, "failover", "pass", False, NOW, ended, 2557, logged, "0" * 64)
    late = ended + timedelta(days=2558)
    return tombstones.payload_of("local", run, {"a": ended, "b": None}, by="operator-1", at=late)


def _approval(plan: dict[str, Any]) -> bytes:
    return decide(plan, "approve", PERSONS["li-wei"], "in the window of 25 November", NOW)[1]


def _waiver() -> bytes:
    wanted = {
        "policy": "audit-retention",
        "subjects": ["b/postgresql"],
        "environment": "local",
        "owner": "Li Wei",
        "reason": "the disk that they fit on arrives in December",
        "from": timestamp(NOW),
        "until": timestamp(NOW + timedelta(days=30)),
    }
    return make(rule(), wanted, PERSONS["wang"], NOW)[1]


def _review() -> bytes:
    login = Right("erp", "login", "the server", "", ("LOGIN",))
    owner = Right("erp", "login", "database erp", "owner", ("CONNECT", "CREATE"))
    words = [Decision(login, KEEP), Decision(owner, REMOVE, "it needs no CREATE", "wang")]
    decisions = {"common/postgresql": words}
    return sign_review("local", decisions, rule(), PERSONS["wang"], reason="yearly", now=NOW)[1]


def signer_of(name: str) -> LocalSigner:
    """The key that a `Signed` names."""
    return ENVIRONMENT if name == "environment" else PERSONS[name]
