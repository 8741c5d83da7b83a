"""Where each thing of a run is: in its run directory, and in its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

MANIFEST = "manifest.json"
MANIFEST_ENVELOPE = "manifest.dsse.json"
PLAN, PLAN_STATEMENT = "plan/plan.json", "plan/plan.dsse.json"
RUN, RUN_STATEMENT = "runs/run.json", "runs/run.dsse.json"
FINDINGS, CONTROLS_STATEMENT = "controls/findings.json", "controls/controls.dsse.json"
ENVIRONMENT, DRILL = "drill/environment.json", "drill/drill.yaml"
FACTS, RECOVERED = "raw/facts.json", "raw/recovered_facts.json"
PROOFS = {kind: f"log/{kind}.tlog-proof" for kind in ("plan", "controls", "run")}
GROWTH, REPORT = "log/growth", "report.html"
RAW, RULES, APPROVALS, WAIVERS = "raw/", "policy/", "raw/approvals/", "raw/waivers/"

BUNDLES, KEYS = "evidence/bundles", "evidence/keys"
"""Where a state directory keeps the bundles, each named by its run, and who signed, by key id."""

RUN_DIRECTORY = {
    "plan.json": PLAN,
    "run.json": RUN,
    "findings.json": FINDINGS,
    "environment.json": ENVIRONMENT,
    "drill.yaml": DRILL,
    "report.html": REPORT,
    GROWTH: GROWTH,
    **{path: path for path in PROOFS.values()},
    "statements/plan.dsse.json": PLAN_STATEMENT,
    "statements/run.dsse.json": RUN_STATEMENT,
    "statements/controls.dsse.json": CONTROLS_STATEMENT,
}
_TIMESTAMPS = "log/*.tst"
_FOLDERS = {"raw": RAW, "policies": RULES}


def timestamp_path(kind: str, authority: str) -> str:
    """Return where the timestamp of an authority over a checkpoint is; `kind`: plan or run.

    The token (DER) is over the sha256 of the checkpoint that proves the entry of that kind. The
    path is the same in the run directory and in the bundle.
    """
    return f"log/{kind}.{authority.replace('/', '_')}.tst"


def read_run_directory(run_dir: Path) -> dict[str, bytes]:
    """Return bundle path → content of what a run directory holds of evidence.

    Other files of the directory (locks, temporary files, the exported bundle) are left out.
    """
    contents = {
        target: (run_dir / name).read_bytes()
        for name, target in RUN_DIRECTORY.items()
        if (run_dir / name).is_file()
    }
    for path in sorted(run_dir.glob(_TIMESTAMPS)):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            contents[path.relative_to(run_dir).as_posix()] = path.read_bytes()
    for folder, target in _FOLDERS.items():
        for path in sorted((run_dir / folder).rglob("*")):
            relative = path.relative_to(run_dir / folder).as_posix()
            hidden = any(part.startswith(".") for part in Path(relative).parts)
            if path.is_file() and not path.is_symlink() and not hidden:
                contents[target + relative] = path.read_bytes()
    return contents


def run_directory_of(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return path in a run directory → content, of a bundle's files but its manifest.

    What `read_run_directory` reads of these is what was given. Raises ValueError for a path that no
    run directory has.
    """
    back = {target: name for name, target in RUN_DIRECTORY.items()}
    found: dict[str, bytes] = {}
    for path, content in contents.items():
        folder = next((name for name, target in _FOLDERS.items() if path.startswith(target)), "")
        if folder:
            found[f"{folder}/{path.removeprefix(_FOLDERS[folder])}"] = content
        elif path in back or PurePosixPath(path).match(_TIMESTAMPS):
            found[back.get(path, path)] = content
        else:
            raise ValueError(f"{path} belongs to no run directory")
    return found


def rules_of(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the policies folder of a run: relative path → content."""
    return _below(RULES, contents)


def waivers_of(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the waivers that counted in a run: file name → envelope."""
    return _below(WAIVERS, contents)


def _below(folder: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        name.removeprefix(folder): content
        for name, content in contents.items()
        if name.startswith(folder)
    }
