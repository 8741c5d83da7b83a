"""Roles through ansible-runner, with a role of one file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from stacks.components.ansible import RoleError, RoleResult, role_digest, run_role

ROLES = Path(__file__).parent / "roles"


def run(path: Path, *, check: bool = False, **variables: Any) -> RoleResult:
    wish = {"path": str(path), "content": "one", **variables}
    return run_role("tiny", wish, check=check, roles=ROLES)


def folders() -> set[str]:
    """What runs of this process's user left or have in the temporary directory."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("anlan-role-*")}


def test_a_role_is_applied_once_and_its_drift_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert run(file, check=True).changed == ("Write the file",)
    assert not file.exists()
    assert run(file).changed == ("Write the file",)
    assert file.read_text() == "one"
    assert run(file).changed == ()
    file.write_text("two")
    assert run(file, check=True).changed == ("Write the file",)
    assert file.read_text() == "two"
    assert run(file, state="absent").failed_task is None
    assert not file.exists()


def test_a_failure_names_the_task_and_gives_ansibles_message(tmp_path: Path) -> None:
    result = run(tmp_path / "file", content="bad")
    assert result.failed_task == "Refuse"
    assert result.message == "content must not be 'bad'"


def test_a_variable_that_is_missing_is_named(tmp_path: Path) -> None:
    result = run_role("tiny", {"path": str(tmp_path / "file")}, roles=ROLES)
    assert result.failed_task is not None
    assert "content" in result.message


def test_a_role_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(RoleError, match="no role 'nothing'"):
        role_digest("nothing", ROLES)


def test_a_killed_run_ends_and_the_next_one_removes_what_it_left(tmp_path: Path) -> None:
    before = folders()
    code = (
        "from stacks.components.ansible import run_role; from pathlib import Path;"
        f"run_role('tiny', {{'path': {str(tmp_path / 'file')!r}, 'content': 'one', 'seconds': 60}},"
        f" roles=Path({str(ROLES)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (tmp_path / "file").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    (worker,) = psutil.Process(process.pid).children()
    worker.kill()
    process.wait(timeout=20)
    _, alive = psutil.wait_procs(below, timeout=20)
    assert alive == []
    assert folders() - before, "the kill left nothing: this proves nothing"
    assert run(tmp_path / "other").failed_task is None
    assert not any(name.startswith(f"anlan-role-{worker.pid}-") for name in folders())


def test_roles_run_beside_each_other(tmp_path: Path) -> None:
    results: dict[int, RoleResult] = {}

    def one(number: int) -> None:
        results[number] = run(tmp_path / str(number), content=str(number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: (tmp_path / str(number)).read_text() for number in results} == {0: "0", 1: "1"}
