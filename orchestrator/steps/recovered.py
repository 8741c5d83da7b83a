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
from orchestrator.policy import decode_rules, parse_rules, wanted
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import twin_database


@verb()
def judge_recovered(context: Context) -> None:
    """Ask the survivor, or the twin, what the named policies want to know; the verdict has them."""
    kept = context.raw / "recovered_facts.json"
    if not kept.exists():
        rules = parse_rules(decode_rules(rules_of(read_run_directory(context.directory))))
        policies = rules.chosen(context.options["policies"])
        if context.options["at"] == TWIN:
            site, kinds = TWIN, {one.kind for one in policies}
            facts = collect_twin(context.environment, twin_database(context), kinds)
        else:
            site = context.primary.site.name
            asked = wanted(policies, [site])
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
