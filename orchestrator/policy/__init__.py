"""Facts and policies → findings."""

from orchestrator.policy.evaluate import evaluate
from orchestrator.policy.parameters import Parameters
from orchestrator.policy.rederive import (
    rederive_findings,
    rederive_recovered,
    wanted_by_run,
    wanted_of_recovered,
)
from orchestrator.policy.rules import Rules, decode_rules, parse_rules

__all__ = [
    "Parameters",
    "Rules",
    "decode_rules",
    "evaluate",
    "parse_rules",
    "rederive_findings",
    "rederive_recovered",
    "wanted_by_run",
    "wanted_of_recovered",
]
