"""What a run proved, from its plan, its raw data and its findings alone. Pure."""

from orchestrator.verdict.derive import EXIT_CODES, derive, started_at

__all__ = ["EXIT_CODES", "derive", "started_at"]
