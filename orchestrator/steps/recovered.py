"""The verb that puts what was recovered under the same policies as production."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from orchestrator.collect import collect_wanted
from orchestrator.collect.recovered import collect_twin
from orchestrator.drivers.files import write_atomically
from orchestrator.evidence.layout import read_run_directory, rules_of
from orchestrator.model.fact import facts_document, timestamp
from orchestrator.model.recovered import SCHEMA, TWIN
from orchestrator.policy import wanted_of_recovered
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import twin_database


@verb()
def judge_recovered(context: Context) -> None:
    """Ask the survivor, or the twin, what the named policies want to know; the verdict has them."""
    kept = context.raw / "recovered_facts.json"
    if not kept.exists():
        rules = rules_of(read_run_directory(context.directory))
        at_twin = context.options["at"] == TWIN
        site = TWIN if at_twin else context.primary.site.name
        asked = wanted_of_recovered(rules, context.options, site)
        if at_twin:
            facts = collect_twin(context.environment, twin_database(context), asked)
        else:
            facts = collect_wanted(context.environment, context.secrets, asked)
        document = {
            **facts_document(facts),
            "schema": SCHEMA,
            "sites": [site],
            "judged_at": timestamp(datetime.now(UTC)),
        }
        write_atomically(
            kept, json.dumps(document, indent=1, ensure_ascii=False) + "\n", mode=0o644
        )
    found = json.loads(kept.read_text())["facts"]
    silent = [f"{one['kind']} of {one['subject']}" for one in found if one["status"] != "observed"]
    detail = f"{len(found)} facts, not observed: {', '.join(silent) or 'none'}"
    context.check("recovered_facts_kept", bool(found), detail)
