"""Kind `evidence_log`: whether the evidence log of the state directory verifies.

Data: `entries`, `problems` (the checkpoint, an entry, a run that vanished or was changed, a run
that was due and is not there), `unlogged` (runs with a signed plan that the log does not hold),
`unfinished` (runs whose plan was logged over a day ago and that have no result).
The keys are those that the state directory keeps of its signers, and the environment's own where
Transit signs: an auditor brings them along (`anlan evidence log verify --trust`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.records import Records
from orchestrator.drivers.signers import TRANSIT, signer_settings
from orchestrator.model.environment import Environment

KIND = "evidence_log"
_LONGEST = timedelta(days=1)


def collectors(environment: Environment, records: Records) -> list[Collector]:
    """One collector: `common/evidence_log`."""
    transit = signer_settings(environment)["driver"] == TRANSIT
    return [
        Collector(
            kind=KIND,
            subject="common/evidence_log",
            source=f"{records.state / 'evidence'} and {records.state / 'runs'}, with the key"
            + (f" {environment.evidence_public_key}" if transit else "s that are kept there"),
            query="every entry under the signed checkpoint; the statements and proofs of every run",
            look=partial(look, records),
        )
    ]


def look(records: Records) -> Observation:
    """Verify the log. Raises InfrastructureError, OSError."""
    report = records.log()
    latest = datetime.now(UTC) - _LONGEST
    data = {
        "entries": report.entries,
        "problems": list(report.problems),
        "unlogged": list(report.unlogged),
        "unfinished": [run for run, planned in report.unfinished.items() if planned < latest],
    }
    return Observation(data, report.entries + 1)
