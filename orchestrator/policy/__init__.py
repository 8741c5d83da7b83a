"""Facts and policies → findings."""

from orchestrator.policy.evaluate import evaluate
from orchestrator.policy.parameters import Parameters, Rules, decode_rules, parse_rules
from orchestrator.policy.rederive import rederive_findings

__all__ = ["Parameters", "Rules", "decode_rules", "evaluate", "parse_rules", "rederive_findings"]
