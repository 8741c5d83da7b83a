"""What it costs to report: the PDF of one drill, and that of a quarter, from runs of real size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from tests.bench.figures import Parts

RUNS = 10
"""So many are made; a quarter's 500 are these over and over, each under an id of its own."""
QUARTER = 500
_UNIT = Path(__file__).parents[1] / "unit"


def sample() -> Parts:
    """Seconds of processor time for each PDF, in a process of its own that has rendered nothing.

    `peak_bytes` is of the process that renders the quarter.
    """
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        drill, quarter = (_rendered(Path(folder), what) for what in ("drill", "quarter"))
    return {
        "drill": drill["seconds"],
        "quarter": quarter["seconds"],
        "peak_bytes": quarter["peak_bytes"],
    }


def make(folder: Path) -> None:
    """Make the runs in a folder."""
    sys.path.insert(0, str(_UNIT))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from period_report_samples import SINCE
    from real_samples import record_real

    from orchestrator.evidence import LocalSigner

    signer = LocalSigner(Ed25519PrivateKey.generate())
    for number in range(RUNS):
        at = SINCE + timedelta(days=9 * number)
        record_real(folder, f"failover-{number:04d}", signer, at)


def _rendered(folder: Path, what: str) -> Parts:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder / "runs"), str(QUARTER), what],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    parts: Parts = json.loads(done.stdout)
    return parts


_PROGRAM = """\
import json, resource, sys, time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from orchestrator.evidence import layout
from orchestrator.model.period import Period
from orchestrator.report.period.build import build_period
from orchestrator.report.period.formats import render
from orchestrator.report.run_formats import render_format

made, quarter = sorted(Path(sys.argv[1]).iterdir()), int(sys.argv[2])

class Runs(Mapping):
    # One run's files at a time, as a state directory or a bundle gives them.
    def __iter__(self):
        return (f"failover-{n:04d}" for n in range(quarter))
    def __len__(self):
        return quarter
    def __getitem__(self, run_id):
        run_dir = made[int(run_id[-4:]) % len(made)]
        files = layout.read_run_directory(run_dir)
        for path in (layout.PLAN, layout.RUN):
            files[path] = files[path].replace(run_dir.name.encode(), run_id.encode())
        return files

since, until = datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
began = time.process_time()
if sys.argv[3] == "drill":
    pdf = render_format(layout.read_run_directory(made[0]), "pdf")
else:
    period = Period("local", since, until, "anlan.dev/log/local", 3 * quarter, Runs())
    pdf = render(build_period(period), "pdf")
seconds = time.process_time() - began
assert pdf.startswith(b"%PDF")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "peak_bytes": peak}))
"""
