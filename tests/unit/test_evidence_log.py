"""The log: its chain, several writers, torn lines."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.evidence import dsse, log
from orchestrator.evidence.keys import LocalSigner
from orchestrator.evidence.log import GENESIS, Log, LogError
from orchestrator.model.canonical import canonical
from orchestrator.model.errors import InfrastructureError

DIGEST = "ab" * 32


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture
def journal(tmp_path: Path) -> Log:
    return Log(tmp_path / "evidence" / "log.jsonl")


def fill(journal: Log, signer: LocalSigner, count: int = 4) -> bytes:
    for number in range(count):
        with journal.locked() as held:
            held.append("plan", f"run-{number}", DIGEST, signer)
    return journal.path.read_bytes()


def code(content: bytes, signer: LocalSigner, *, whole: bool = True) -> str:
    with pytest.raises(LogError) as caught:
        log.verify(content, [signer.public_key], whole=whole)
    return caught.value.code


def test_each_line_names_the_digest_of_the_line_before(journal: Log, signer: LocalSigner) -> None:
    entries = log.verify(fill(journal, signer), [signer.public_key], whole=True)
    assert [entry.index for entry in entries] == [0, 1, 2, 3]
    assert entries[0].previous == GENESIS
    assert [e.previous for e in entries[1:]] == [e.digest for e in entries[:-1]]


def test_a_part_of_the_log_verifies_alone_but_not_as_the_whole(
    journal: Log, signer: LocalSigner
) -> None:
    lines = fill(journal, signer).splitlines(keepends=True)
    assert len(log.verify(b"".join(lines[1:3]), [signer.public_key])) == 2
    assert code(b"".join(lines[1:]), signer) == "log-index"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: [lines[0], *lines[2:]], "log-index"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], "log-index"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "log-index"),
        (lambda lines: [*lines[:3], lines[3].replace(b'"index":3', b'"index":9')], "log-signature"),
        (lambda lines: [lines[0].replace(b"run-0", b"run-9"), *lines[1:]], "log-signature"),
        (lambda lines: [*lines[:3], lines[3][:-1]], "log-torn"),
        (lambda lines: [*lines, b"\n"], "log-line"),
        (lambda lines: [b" " + lines[0], *lines[1:]], "log-line"),
        (lambda lines: [lines[0].replace(b"Z", b"+08:00"), *lines[1:]], "log-line"),
        (lambda lines: [b"\xff\n", *lines], "log-line"),
    ],
)
def test_a_changed_log_is_named_by_how_it_was_changed(
    journal: Log, signer: LocalSigner, change, expected: str
) -> None:
    lines = fill(journal, signer).splitlines(keepends=True)
    assert code(b"".join(change(lines)), signer) == expected


def resign(line: bytes, signer: LocalSigner, **changes: object) -> bytes:
    """The line again with other values, validly signed: an insider with the key."""
    entry = {**json.loads(line)["entry"], **changes}
    signature = dsse.sign(canonical(entry), log.ENTRY_TYPE, signer)
    import base64

    return (
        canonical(
            {
                "entry": entry,
                "keyid": signature.signatures[0].keyid,
                "sig": base64.b64encode(signature.signatures[0].value).decode(),
            }
        )
        + b"\n"
    )


def test_even_the_key_cannot_change_one_line_unnoticed(journal: Log, signer: LocalSigner) -> None:
    lines = fill(journal, signer).splitlines(keepends=True)
    lines[1] = resign(lines[1], signer, run_id="another")
    assert code(b"".join(lines), signer) == "log-chain"


def test_a_line_dated_before_the_one_above_is_named(journal: Log, signer: LocalSigner) -> None:
    lines = fill(journal, signer).splitlines(keepends=True)
    lines[3] = resign(lines[3], signer, time="2020-01-01T00:00:00.000Z")
    assert code(b"".join(lines), signer) == "log-time"


def test_a_first_line_with_a_predecessor_is_named(journal: Log, signer: LocalSigner) -> None:
    lines = fill(journal, signer, 1).splitlines(keepends=True)
    assert code(resign(lines[0], signer, previous=DIGEST), signer) == "log-chain"


def test_lines_of_another_key_are_not_trusted(journal: Log, signer: LocalSigner) -> None:
    content = fill(journal, signer)
    stranger = LocalSigner(Ed25519PrivateKey.generate())
    with pytest.raises(dsse.UntrustedError):
        log.verify(content, [stranger.public_key])


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_torn_last_line_is_cut_off_by_the_next_writer(
    journal: Log, signer: LocalSigner, cut: int
) -> None:
    content = fill(journal, signer)
    last = content.splitlines(keepends=True)[-1]
    journal.path.write_bytes(content[: -len(last)] + last[:cut])
    with journal.locked() as held:
        assert len(held.entries) == 3
        held.append("plan", "again", DIGEST, signer)
    entries = log.verify(journal.path.read_bytes(), [signer.public_key], whole=True)
    assert [entry.run_id for entry in entries] == ["run-0", "run-1", "run-2", "again"]


def test_a_damaged_log_is_never_appended_to(journal: Log, signer: LocalSigner) -> None:
    content = fill(journal, signer)
    journal.path.write_bytes(content.replace(b'"index":1', b'"index":-1'))
    before = journal.path.read_bytes()
    with pytest.raises(InfrastructureError, match="line 2"), journal.locked():
        pass
    assert journal.path.read_bytes() == before


def test_time_never_goes_back_when_the_clock_does(tmp_path: Path, signer: LocalSigner) -> None:
    now = datetime(2026, 11, 25, 3, tzinfo=UTC)
    for shift in (0, -3600, 60):
        with Log(
            tmp_path / "log", lambda shift=shift: now + timedelta(seconds=shift)
        ).locked() as h:
            h.append("plan", f"run{shift}", DIGEST, signer)
    entries = log.verify((tmp_path / "log").read_bytes(), [signer.public_key], whole=True)
    assert [(entry.time - now).total_seconds() for entry in entries] == [0, 0, 60]


def _append_many(path: Path, key: bytes, name: str, count: int) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(key))
    for number in range(count):
        with Log(path).locked() as held:
            held.append("run", f"{name}-{number}", DIGEST, signer)


def test_two_processes_append_to_one_chain(journal: Log) -> None:
    key = bytes(range(32))
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(key))
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append_many, args=(journal.path, key, name, 25))
        for name in ("left", "right")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    entries = log.verify(journal.path.read_bytes(), [signer.public_key], whole=True)
    for name in ("left", "right"):
        mine = [entry.run_id for entry in entries if entry.run_id.startswith(name)]
        assert mine == [f"{name}-{number}" for number in range(25)]


def _die_in_the_middle_of_a_write(path: Path, key: bytes, written: int) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(key))
    write = os.write

    def torn(descriptor: int, content: bytes) -> int:
        write(descriptor, bytes(content[:written]))
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    os.write = torn  # type: ignore[assignment]
    with Log(path).locked() as held:
        held.append("plan", "torn", DIGEST, signer)


@pytest.mark.parametrize("written", [0, 1, 100])
def test_kill_9_in_the_middle_of_a_line_costs_only_that_line(journal: Log, written: int) -> None:
    key = bytes(range(32))
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(key))
    content = fill(journal, signer, 2)
    child = multiprocessing.get_context("fork").Process(
        target=_die_in_the_middle_of_a_write, args=(journal.path, key, written)
    )
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert len(journal.path.read_bytes()) == len(content) + written
    with journal.locked() as held:
        held.append("plan", "next", DIGEST, signer)
    entries = log.verify(journal.path.read_bytes(), [signer.public_key], whole=True)
    assert [entry.run_id for entry in entries] == ["run-0", "run-1", "next"]
