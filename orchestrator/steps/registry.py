"""The verbs that drills are made of. A verb is a small function on the run's context, and its undo.

Every verb is idempotent: it looks at the world, acts if needed and proves the result, because
after kill -9 it runs again. Undo is idempotent too, and runs also when the verb itself failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.steps.context import Context

Action = Callable[[Context], None]
Undo = Callable[[Context], object]


@dataclass(frozen=True)
class Verb:
    """A verb: what it does in a sentence, its function, its undo (None: nothing to undo).

    `repeatable`: a drill may let it try again at once when a server did not answer (`retries`).
    """

    name: str
    says: str
    run: Action
    undo: Undo | None
    repeatable: bool


VERBS: dict[str, Verb] = {}


def verb(*, undo: Undo | None = None, repeatable: bool = False) -> Callable[[Action], Action]:
    """Register a function as the verb of its name; its docstring's first line says what it does."""

    def register(function: Action) -> Action:
        says = (function.__doc__ or "").strip().splitlines()[0]
        VERBS[function.__name__] = Verb(function.__name__, says, function, undo, repeatable)
        return function

    return register
