"""Versions of the ERP: which packages an environment holds, and a new one built beside it."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import distributions
from pathlib import Path

from orchestrator.drivers.process import run
from orchestrator.model.errors import InfrastructureError, InputError

_PREFIX = "trytond"
_PYTHON_SECONDS = 60.0


def packages(venv: Path) -> dict[str, str]:
    """The ERP's packages in a virtual environment and their versions.

    Raises InfrastructureError when there are none.
    """
    folders = [str(path) for path in venv.glob("lib/python*/site-packages")]
    found = {
        one.metadata["Name"].lower().replace("_", "-"): one.version
        for one in distributions(path=folders)
        if one.metadata["Name"].lower().startswith(_PREFIX)
    }
    if not found:
        raise InfrastructureError(f"{venv} holds no ERP", "build it: the role `erp` does")
    return dict(sorted(found.items()))


def build(venv: Path, requirements: Path, *, timeout_seconds: float) -> None:
    """Build a virtual environment at `venv` from a lock file; what an earlier attempt left goes.

    Every package must be pinned with its hash, as in the role's own file. Raises InputError when
    the file is none, InfrastructureError when it cannot be built.
    """
    if not requirements.is_file():
        raise InputError(
            f"there are no requirements {requirements}",
            "name a lock file with hashes, like roles/erp/files/requirements.txt",
        )
    complete = venv / ".complete"
    if complete.exists():
        return
    shutil.rmtree(venv, ignore_errors=True)
    # As the role does: where uv gets packages from, and whom it trusts, is in the environment.
    ours = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    run(["uv", "venv", "--quiet", venv], timeout_seconds=_PYTHON_SECONDS, environment=ours)
    python = venv / "bin" / "python"
    install = ["uv", "pip", "install", "--quiet", "--require-hashes", "--python", str(python)]
    run([*install, "-r", requirements], timeout_seconds=timeout_seconds, environment=ours)
    complete.touch()
