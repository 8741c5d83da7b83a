"""What a witness over HTTP on this machine adds to logging a plan.

`python -m tests.bench.vouching` prints it. Plans are logged to the disk, half of them in a
log that a witness (a process of its own) cosigns, in turns. One elsewhere adds the way to it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

PLANS = 40
_UNIT = Path(__file__).parents[1] / "unit"


def sample(folder: Path) -> dict[str, float]:
    """Return milliseconds of one `record_plan`, the median: without a witness and with one."""
    sys.path.insert(0, str(_UNIT))
    from test_vouching import SAMPLE, Place, replace, watching, write_plan
    from witnesses import served

    from orchestrator.drivers.witness import HttpWitness
    from orchestrator.evidence.witness.vouching import Vouchers

    alone, seen = (Place(folder / name, Vouchers()) for name in ("alone", "seen"))
    watched = watching(folder / "w", seen)
    with served(watched.folder) as (url, _, _):
        seen.vouchers = Vouchers((HttpWitness(watched.name, watched.public_key, url, 3),))
        spent: dict[str, list[float]] = {"alone": [], "seen": []}
        for number in range(PLANS):
            for name, place in (("alone", alone), ("seen", seen)):
                run_dir = place.state / "runs" / f"backup-{number:04d}"
                write_plan(run_dir, replace(SAMPLE, run_id=run_dir.name))
                began = time.monotonic()
                place.store().record_plan(run_dir)
                spent[name].append(1000 * (time.monotonic() - began))
    assert not seen.warnings, seen.warnings
    return {name: statistics.median(values) for name, values in spent.items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = sample(Path(folder))
    print(
        f"record_plan: {found['alone']:.1f} ms, with a witness over HTTP {found['seen']:.1f} ms "
        f"(medians of {PLANS})"
    )
