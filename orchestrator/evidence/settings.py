"""The evidence settings of an environment: who signs, and who vouches from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.evidence.witness.vouchers import authorities_of, witnesses_of
from orchestrator.model.errors import InputError
from orchestrator.model.schema import check
from orchestrator.model.yaml_text import load_yaml


def load_settings(path: Path) -> dict[str, Any]:
    """Return the settings (schema `evidence-settings`) of a YAML file. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the evidence settings: {error}", file=str(path)) from error
    settings: dict[str, Any] = load_yaml(text, file=str(path))
    check(settings, "evidence-settings", file=str(path), text=text)
    witnesses_of(settings, file=str(path))
    authorities_of(settings, file=str(path))
    return settings
