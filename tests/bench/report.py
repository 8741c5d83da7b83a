"""What it costs to report: the PDF of one drill, and that of a quarter, from runs of real size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Parts

RUNS = 10
"""So many are made; a quarter's 500 are these over and over, each under an id of its own."""
QUARTER = 500
_UNIT = Path(__file__).parents[1] / "unit"


def sample() -> Parts:
    """Seconds of processor time for each PDF, and `peak_bytes` of the process that makes them.

    `first` is that of one drill in a process that has rendered nothing yet, `drill` the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(_UNIT), folder, str(RUNS), str(QUARTER)],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
    parts: Parts = json.loads(done.stdout)
    return parts


_PROGRAM = """\
import json, resource, subprocess, sys, time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_report_samples import SINCE, UNTIL
from real_samples import record_real
from orchestrator.evidence import LocalSigner, layout
from orchestrator.model.period import Period

state, count, quarter = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
signer = LocalSigner(Ed25519PrivateKey.generate())
made = [
    record_real(state, f"failover-{n:04d}", signer, SINCE + timedelta(days=9 * n))
    for n in range(count)
]

class Runs(Mapping):
    # One run's files at a time, as a state directory or a bundle gives them.
    def __iter__(self):
        return (f"failover-{n:04d}" for n in range(quarter))
    def __len__(self):
        return quarter
    def __getitem__(self, run_id):
        run_dir = made[int(run_id[-4:]) % count]
        files = layout.read_run_directory(run_dir)
        for path in (layout.PLAN, layout.RUN):
            files[path] = files[path].replace(run_dir.name.encode(), run_id.encode())
        return files

from orchestrator.report.period.build import build_period
from orchestrator.report.period.formats import render
from orchestrator.report.run_formats import render_format
spent = {}
def timed(name, work):
    began = time.process_time()
    assert work().startswith(b"%PDF")
    spent[name] = time.process_time() - began
files = layout.read_run_directory(made[0])
timed("first", lambda: render_format(files, "pdf"))
timed("drill", lambda: render_format(layout.read_run_directory(made[1]), "pdf"))
period = Period("local", SINCE, UNTIL, "anlan.dev/log/local", 3 * quarter, Runs())
timed("quarter", lambda: render(build_period(period), "pdf"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({**spent, "peak_bytes": peak}))
"""
