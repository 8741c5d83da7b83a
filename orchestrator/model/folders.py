"""Where the drills and policies that come with Anlan are."""

from __future__ import annotations

from pathlib import Path

from orchestrator.model.errors import InputError


def data_folder(name: str) -> Path:
    """Return the folder `drills` or `policies`: of the checkout, or packaged."""
    beside = Path(__file__).resolve().parents[2] / name
    packaged = Path(__file__).resolve().parents[1] / "_data" / name
    for folder in (beside, packaged):
        if folder.is_dir():
            return folder
    raise InputError(f"there is no folder {name}", "name one by its option", file=str(beside))
