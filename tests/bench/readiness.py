"""How long the drill `readiness` takes, as its user waits for it."""

from __future__ import annotations

import time

from tests.bench.figures import Parts
from tests.bench.place import Place


def drill(place: Place) -> Parts:
    """Seconds of the command, and of its steps."""
    began = time.monotonic()
    derived = place.drill("readiness")["derived"]
    command = time.monotonic() - began
    return {"command": command, "steps": float(derived["critical_path"]["seconds"])}
