"""Facts from the running systems: what was seen, where, by which query, when and how long it took.

A subject that does not answer, or that says no, is a fact too (`unreachable`, `denied`).
"""

from orchestrator.collect.kinds import KINDS, collect_kinds, collect_wanted

__all__ = ["KINDS", "collect_kinds", "collect_wanted"]
