"""What it costs to verify evidence: bundles of the size that a real failover leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.figures import Parts

BUNDLES = 20
"""So many are verified in a run; the figure is for a quarter's 500."""
QUARTER = 500
_UNIT = Path(__file__).parents[1] / "unit"


def make(folder: Path) -> None:
    """Make the bundles and the trust key in a folder."""
    sys.path.insert(0, str(_UNIT))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from real_samples import record_real

    from orchestrator.evidence import EvidenceStore, LocalSigner

    signer = LocalSigner(Ed25519PrivateKey.generate())
    begin = datetime(2026, 10, 1, 3, 15, tzinfo=UTC)
    for number in range(BUNDLES):
        run_dir = record_real(
            folder / "state", f"failover-{number:04d}", signer, begin + timedelta(hours=number)
        )
        EvidenceStore(folder / "state", signer).export(run_dir, folder / f"{number:04d}.zip")
    (folder / "evidence.pub").write_text(signer.public_key_pem())


def verified(folder: Path) -> Parts:
    """Seconds of processor time a bundle, and `peak_bytes` of a process that verifies them all.

    The first bundle is apart: it pays for the imports and for parsing the policies.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    parts: Parts = json.loads(done.stdout)
    return parts


def sample() -> Parts:
    """Make bundles, and verify them."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return verified(Path(folder))


_PROGRAM = """\
import json, resource, sys, time
from pathlib import Path
from orchestrator.cli.verify import rederive
from orchestrator.evidence import Trust, load_public_key, verify
folder = Path(sys.argv[1])
keys, again, spent = [load_public_key(folder / "evidence.pub")], rederive(), []
for bundle in sorted(folder.glob("*.zip")):
    began = time.process_time()
    assert verify(bundle, Trust.of(keys), again).status == "VALID", bundle
    spent.append(time.process_time() - began)
print(json.dumps({
    "first": spent[0],
    "bundle": sum(spent[1:]) / len(spent[1:]),
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""
