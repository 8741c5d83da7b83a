"""What the evidence log costs: statements logged a second, and a log of a million verified."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from tests.bench.figures import Parts

ENTRIES = 1_000_000
BATCH, BATCHES = 256, 20


def sample() -> Parts:
    """Seconds a statement (`append`), of a whole verification (`verify`), and its `peak_bytes`.

    Appending is to the disk, with everything that makes it safe; verifying is processor time.
    """
    parts: Parts = {}
    with tempfile.TemporaryDirectory() as folder:
        for program in (_APPEND, _MAKE, _VERIFY):
            numbers = (str(one) for one in (ENTRIES, BATCH, BATCHES))
            done = subprocess.run(
                [sys.executable, "-c", _HEAD + program, folder, *numbers],
                capture_output=True,
                text=True,
                check=True,
                timeout=600,
            )
            parts |= json.loads(done.stdout)
    return parts


_HEAD = """\
import json, resource, sys, time
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from orchestrator.evidence.tlog import log, note, tiles
from orchestrator.evidence.keys import LocalSigner
folder, entries, batch, batches = Path(sys.argv[1]), *map(int, sys.argv[2:])
signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
digest = "ab" * 32
"""
_APPEND = """\
began = time.perf_counter()
for number in range(batches):
    with log.Log(folder / "small").locked() as held:
        held.append([("run", f"r-{number}-{n}", digest) for n in range(batch)], signer)
print(json.dumps({"append": (time.perf_counter() - began) / (batch * batches)}))
"""
_MAKE = """\
with log.Log(folder / "first").locked() as held:
    held.append([("run", f"r-{n}", digest) for n in range(1000)], signer)
leaves = [one.leaf for one in log.Log(folder / "first").entries()]
files, root = tiles.grow(0, [leaves[n % 1000] for n in range(entries)], lambda path: None)
head = note.Checkpoint("anlan.dev/log/large/0", entries, root)
for path, content in {**files, "checkpoint": note.sign(head, signer).to_bytes()}.items():
    (folder / "large" / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / "large" / path).write_bytes(content)
print("{}")
"""
_VERIFY = """\
began = time.process_time()
found, _ = log.verify(log.Log(folder / "large").read, [signer.public_key])
assert len(found) == entries
print(json.dumps({
    "verify": time.process_time() - began,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""
