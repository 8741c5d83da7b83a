"""The generated list of policies in the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "reference" / "policy_list.py"


def script() -> ModuleType:
    return load_script(SCRIPT)


def load_script(file: Path) -> ModuleType:
    """A generator of documentation, which is in no package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_list_of_policies_is_that_of_the_policies() -> None:
    made = script().render(ROOT / "policies")
    assert script().PAGE.read_text() == made, (
        "run `uv run --no-sync docs/reference/policy_list.py`, and commit what it writes"
    )


def test_every_policy_and_every_catalogue_is_in_the_list() -> None:
    made = script().render(ROOT / "policies")
    for file in (ROOT / "policies").glob("*.yaml"):
        for line in file.read_text().splitlines():
            if line.startswith("  - id: "):
                assert f"| `{line.removeprefix('  - id: ')}` |" in made
    for file in (ROOT / "policies" / "catalogues").glob("*.yaml"):
        assert f"[`{file.stem}`]" in made
