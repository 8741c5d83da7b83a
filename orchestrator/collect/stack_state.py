"""Kind `stack_state`: whether what runs is what the stack made, and what the checkout would make.

Data: `updated_at` (of the stack's state), `resources`, `changed_roles` (whose files are no longer
those that were applied), `programs_changed` (the same of the stack's programs),
`descriptor_changed` (the file is not what the stack wrote), `drift` (what the last `anlan refresh`
found to differ and no `anlan up` repaired), `pending` (operations that an update did not end).
Digests tell that a file changed, not what: what of it matters to the running servers is found by
`anlan up ENV --dry-run`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.records import Records
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp

KIND = "stack_state"


def collectors(environment: Environment, records: Records) -> list[Collector]:
    """One collector: `common/stack`."""
    return [
        Collector(
            kind=KIND,
            subject="common/stack",
            source=f"the stack's state of {environment.name} in {records.state}, the checkout, the "
            "descriptor",
            query="digests of each role and of the stack's programs; the descriptor's text; drift "
            "and pending operations of the state",
            look=partial(look, records),
        )
    ]


def look(records: Records) -> Observation:
    """Compare. Raises InfrastructureError, OSError."""
    report = records.stack()
    data: dict[str, Any] = {
        "updated_at": timestamp(report.updated_at),
        "resources": report.resources,
        "changed_roles": list(report.changed_roles),
        "programs_changed": report.programs_changed,
        "descriptor_changed": report.descriptor_changed,
        "drift": list(report.drift),
        "pending": list(report.pending),
    }
    return Observation(data, report.resources)
