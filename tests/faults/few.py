"""A folder of few policies, for drills that are tested for something else than what they judge.

With all of them each drill ends with some seconds of questions to every system.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from orchestrator.model.folders import data_folder

# Those that the drills themselves name, for a survivor or a twin.
_FILES = ("tls.yaml", "rbac.yaml", "audit.yaml", "database_access.yaml", "erp.yaml")


@cache
def few_policies() -> tuple[str, str]:
    """The arguments of a drill that is judged by few policies; the folder goes with the process."""
    folder, all_of_them = Path(tempfile.mkdtemp(prefix="anlan-policies-")), data_folder("policies")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in _FILES:
        shutil.copy(all_of_them / name, folder)
    shutil.copytree(all_of_them / "baseline", folder / "baseline")
    return "--policies", str(folder)
