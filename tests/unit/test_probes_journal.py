"""Journals of the probes, and what is read out of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.background import Probe
from orchestrator.probes.journal import JournalWriter
from orchestrator.verdict.availability import first_failure_after, first_ok_after, outages
from orchestrator.verdict.journal import FILE, Journal, read_journal
from orchestrator.verdict.ledger import first_acknowledged_after, rate_per_second
from orchestrator.verdict.primaries import judge

SECOND = 1_000_000_000


def journal(*entries: dict[str, object], **settings: object) -> Journal:
    return Journal({"settings": settings, "run": "r", "t": 0}, entries)


def ok(began: float, t: float) -> dict[str, object]:
    return {"kind": "ok", "began": int(began * SECOND), "t": int(t * SECOND)}


def error(t: float) -> dict[str, object]:
    return {"kind": "error", "began": int(t * SECOND) - 1, "t": int(t * SECOND)}


def answer(site: str, asked: float, t: float, writable: bool) -> dict[str, object]:
    return {
        "kind": "answer",
        "site": site,
        "asked": int(asked * SECOND),
        "t": int(t * SECOND),
        "writable": writable,
    }


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / FILE, "ledger", "run-1", {"writers": 2})
    began = time.monotonic_ns()
    t = writer.write("sent", key="k")
    read = read_journal(tmp_path)
    assert read.header["run"] == "run-1"
    assert read.header["settings"] == {"writers": 2}
    assert [(e["kind"], e["key"], e["t"]) for e in read.entries] == [("sent", "k", t)]
    assert t >= began
    assert abs(read.utc(t).timestamp() - time.time()) < 5


@given(cut=st.integers(min_value=1, max_value=40))
def test_a_torn_last_line_costs_that_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / FILE
    writer = JournalWriter(path, "ledger", "r", {})
    writer.write("sent", key="first")
    writer.write("sent", key="second-with-a-long-name-so-that-it-can-be-cut")
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert [e["key"] for e in read_journal(path).entries] == ["first"]
    # A probe that is started again does not glue its header to the torn line.
    JournalWriter(path, "ledger", "r", {}).write("sent", key="third")
    assert [e["key"] for e in read_journal(path).entries] == ["first", "third"]


def test_a_journal_that_spans_a_reboot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    JournalWriter(path, "ledger", "r", {}).write("sent", key="k")
    header = json.loads(path.read_text().splitlines()[0]) | {"boot_id": "another"}
    with path.open("a") as stream:
        stream.write(json.dumps(header) + "\n")
    with pytest.raises(InfrastructureError, match="reboot"):
        read_journal(path)


@pytest.mark.parametrize("text", ["", "{}\n", '{"kind":"sent","t":1}\n', "garbage\n"])
def test_a_file_without_a_header_is_no_journal(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InfrastructureError):
        read_journal(tmp_path)


def test_a_write_begun_before_the_fault_does_not_end_the_outage() -> None:
    seen = journal(ok(1, 1.1), ok(1.9, 2.4), error(2.5), ok(3.0, 3.2), ok(3.1, 3.15))
    assert first_ok_after(seen, 2 * SECOND) == int(3.15 * SECOND)
    assert first_failure_after(seen, 2 * SECOND) == int(2.5 * SECOND)
    assert first_ok_after(seen, 4 * SECOND) is None


def test_outages_lie_between_acknowledged_writes() -> None:
    seen = journal(ok(0, 1), ok(1, 1.2), error(1.3), error(1.4), ok(3, 3.2), ok(3.2, 3.3))
    (outage,) = outages(seen)
    assert outage.seconds == pytest.approx(2.0)
    assert outage.failures == 2
    assert outage.until_ns == int(3.2 * SECOND)


def test_an_outage_that_never_ended_is_open() -> None:
    (outage,) = outages(journal(ok(0, 1), error(1.5), error(4)))
    assert outage.until_ns is None
    assert outage.seconds == pytest.approx(3.0)


def test_silence_is_an_outage_too() -> None:
    (outage,) = outages(journal(ok(0, 1), ok(5, 6)), longer_than_seconds=1.0)
    assert (outage.seconds, outage.failures) == (5.0, 0)


def test_two_sites_writable_at_once_are_found() -> None:
    seen = journal(
        answer("a", 1.0, 1.1, True),
        answer("b", 1.0, 1.1, False),
        answer("b", 1.5, 1.6, True),
        answer("a", 2.0, 2.1, True),
        sites=["a", "b"],
    )
    verdict = judge(seen)
    assert [(x.site, y.site) for x, y in verdict.dual] == [("a", "b")]


def test_a_handover_without_overlap_is_clean_and_its_gap_is_measured() -> None:
    seen = journal(
        answer("a", 1.0, 1.1, True),
        answer("b", 1.0, 1.1, False),
        {"kind": "no_answer", "site": "a", "asked": 0, "t": int(1.3 * SECOND)},
        answer("b", 1.9, 2.0, True),
        answer("b", 2.1, 2.2, True),
        sites=["a", "b"],
    )
    verdict = judge(seen)
    assert verdict.dual == ()
    assert verdict.longest_gap_seconds == pytest.approx(0.8)
    assert verdict.answers == {"a": 1, "b": 3}


def test_a_primary_that_comes_back_is_a_dual_primary() -> None:
    seen = journal(
        answer("a", 1.0, 1.1, True),
        {"kind": "no_answer", "site": "a", "asked": 0, "t": int(1.3 * SECOND)},
        answer("b", 1.9, 2.0, True),
        answer("b", 2.9, 3.0, True),
        answer("a", 2.5, 2.6, True),
        sites=["a", "b"],
    )
    assert len(judge(seen).dual) == 1


def test_a_site_that_was_never_asked_counts_zero_answers() -> None:
    assert judge(journal(answer("a", 1, 1.1, True), sites=["a", "b"])).answers == {"a": 1, "b": 0}


def test_the_ledgers_first_acknowledgement_was_sent_after_the_fault() -> None:
    seen = journal(
        {"kind": "sent", "key": "1", "t": 5},
        {"kind": "acknowledged", "key": "1", "t": 12},
        {"kind": "sent", "key": "2", "t": 11},
        {"kind": "acknowledged", "key": "2", "t": 20},
    )
    assert first_acknowledged_after(seen, 10) == 20
    assert rate_per_second(seen, 0, SECOND) == 2.0


def test_a_probe_that_cannot_start_says_where_to_read(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="did not start"):
        Probe("orchestrator.probes.no_such_module", tmp_path / "probe").start({})


def test_no_secret_of_a_probe_is_in_its_arguments_environment_or_journal(tmp_path: Path) -> None:
    """A ledger probe for a port where nothing listens: it writes that it has no connection."""
    probe = Probe("orchestrator.probes.ledger", tmp_path / "probe")
    settings = {
        "run": "r",
        "threads": 1,
        "max_seconds": 30,
        "writes_per_second": 10,
        "connection": {"host": "127.0.0.1", "port": "9", "user": "u", "password": "hunter22"},
        "public": {},
    }
    probe.start(settings)
    try:
        assert probe.is_running()
        pid = int((probe.directory / "pid").read_text().split()[0])
        probe.start(settings)
        assert int((probe.directory / "pid").read_text().split()[0]) == pid
        for name in ("cmdline", "environ"):
            assert b"hunter22" not in Path(f"/proc/{pid}/{name}").read_bytes()
        time.sleep(0.3)
    finally:
        probe.stop()
    assert not probe.is_running()
    kinds = {entry["kind"] for entry in read_journal(probe.directory).entries}
    assert kinds == {"no_connection", "end"}
    for file in probe.directory.iterdir():
        assert "hunter22" not in file.read_text()


@pytest.mark.parametrize("how", ["directory", "time"])
def test_a_probe_ends_by_itself(tmp_path: Path, how: str) -> None:
    probe = Probe("orchestrator.probes.ledger", tmp_path / "probe")
    probe.start(
        {
            "run": "r",
            "threads": 1,
            "max_seconds": 0.3 if how == "time" else 60,
            "writes_per_second": 10,
            "connection": {"host": "127.0.0.1", "port": "9"},
            "public": {},
        }
    )
    pid = int((probe.directory / "pid").read_text().split()[0])
    if how == "directory":
        probe.directory.rename(tmp_path / "moved")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        # A zombie of this process (it spawned the probe) has an empty command line.
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    assert time.monotonic() < deadline


def test_a_probe_survives_kill_9_of_the_process_that_started_it(tmp_path: Path) -> None:
    probe = Probe("orchestrator.probes.ledger", tmp_path / "probe")
    program = """
import os, signal, sys
from pathlib import Path
from orchestrator.probes.background import Probe
Probe("orchestrator.probes.ledger", Path(sys.argv[1])).start(
    {"run": "r", "threads": 1, "max_seconds": 60, "writes_per_second": 10,
     "connection": {"host": "127.0.0.1", "port": "9"}, "public": {}})
os.killpg(0, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(probe.directory)], start_new_session=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    try:
        before = len(read_journal(probe.directory).entries)
        time.sleep(0.4)
        assert probe.is_running()
        assert len(read_journal(probe.directory).entries) > before
    finally:
        probe.stop()
    assert not probe.is_running()
