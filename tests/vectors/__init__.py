"""Evidence for other implementations: what they must accept, what they must refuse, and why."""

import sys
from pathlib import Path

for _folder in ("unit", "tamper"):  # run_samples; forgers
    if (_path := str(Path(__file__).parents[1] / _folder)) not in sys.path:
        sys.path.insert(0, _path)
