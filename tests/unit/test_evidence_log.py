"""The log: its tree and checkpoint, several writers, kills, and what an insider can do."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import LocalSigner, key_id
from orchestrator.evidence.tlog import log, note, proofs, tiles
from orchestrator.evidence.tlog.entries import Entry, LogError, leaf_of, parse_entry
from orchestrator.evidence.tlog.log import Log
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.errors import InfrastructureError, InputError

DIGEST = "ab" * 32
KEY = bytes(range(32))


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))


@pytest.fixture
def journal(tmp_path: Path) -> Log:
    return Log(tmp_path / "local")


@pytest.fixture(autouse=True)
def _one_id_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a log that is made again is the same log, as an insider would have it."""
    monkeypatch.setattr(log, "new_id", lambda: "0123456789abcdef")


def fill(journal: Log, signer: LocalSigner, count: int = 4) -> None:
    for number in range(count):
        with journal.locked() as held:
            held.append([("plan", f"run-{number}", DIGEST)], signer)


def runs_of(journal: Log, signer: LocalSigner) -> list[str]:
    return [entry.run_id for entry in log.verify(journal.read, [signer.public_key])[0]]


def code(journal: Log, signer: LocalSigner, known: note.Checkpoint | None = None) -> str:
    with pytest.raises(LogError) as caught:
        log.verify(journal.read, [signer.public_key], known)
    return caught.value.code


def test_the_log_is_what_was_appended_under_one_signed_checkpoint(
    journal: Log, signer: LocalSigner
) -> None:
    fill(journal, signer)
    entries, checkpoint = log.verify(journal.read, [signer.public_key])
    assert [(one.index, one.run_id) for one in entries] == [(n, f"run-{n}") for n in range(4)]
    assert (checkpoint.size, checkpoint.origin[:19]) == (4, "anlan.dev/log/local")
    assert journal.entries() == entries


def test_each_log_has_an_origin_of_its_own(
    tmp_path: Path, signer: LocalSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two state directories of one environment make two logs, not a fork of one."""
    monkeypatch.undo()
    origins = []
    for folder in ("one", "two"):
        journal = Log(tmp_path / folder / "local")
        fill(journal, signer, 2)
        origins.append(log.verify(journal.read, [signer.public_key])[1].origin)
    assert origins[0] != origins[1]
    for origin in origins:
        assert re.fullmatch("anlan.dev/log/local/[0-9a-f]{16}", origin)


def test_the_files_are_the_tiles_of_the_last_checkpoint_alone(
    journal: Log, signer: LocalSigner
) -> None:
    for size in (3, 256, 2):  # across a full tile
        with journal.locked() as held:
            held.append([("run", f"r{n}", DIGEST) for n in range(size)], signer)
    there = {
        path.relative_to(journal.folder).as_posix()
        for path in journal.folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    assert there == {tiles.CHECKPOINT, *tiles.paths(261)}


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("tile/entries/000.p/4", lambda old: old.replace(b"run-1", b"run-9"), "log-entry"),
        ("tile/entries/000.p/4", lambda old: old[:-1], "log-tile"),
        ("tile/entries/000.p/4", lambda old: b"", "log-tile"),
        ("tile/0/000.p/4", lambda old: old[32:64] + old[:32] + old[64:], "log-root"),
        ("tile/0/000.p/4", lambda old: old[:-32], "log-tile"),
        ("checkpoint", lambda old: old.replace(b"\n4\n", b"\n3\n"), "log-signature"),
        ("checkpoint", lambda old: old[:-1], "log-signature"),
        ("checkpoint", lambda old: old + b"x", "log-signature"),
        ("checkpoint", lambda old: b"", "log-signature"),
    ],
)
def test_a_changed_log_is_named_by_how_it_was_changed(
    journal: Log,
    signer: LocalSigner,
    path: str,
    change: Callable[[bytes], bytes],
    expected: str,
) -> None:
    fill(journal, signer)
    file = journal.folder / path
    file.write_bytes(change(file.read_bytes()))
    assert code(journal, signer) == expected


def test_not_a_byte_of_the_log_can_be_changed(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer, 3)
    files = [path for path in journal.folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) == 3
    for file in files:
        content = file.read_bytes()
        for where in range(len(content)):
            changed = bytearray(content)
            changed[where] ^= 1
            file.write_bytes(changed)
            with pytest.raises((LogError, dsse.UntrustedError)):
                log.verify(journal.read, [signer.public_key])
        file.write_bytes(content)
    assert log.verify(journal.read, [signer.public_key])


def test_an_upper_tile_that_leads_elsewhere_is_named(journal: Log, signer: LocalSigner) -> None:
    with journal.locked() as held:
        held.append([("run", f"r{n}", DIGEST) for n in range(300)], signer)
    (journal.folder / "tile/1/000.p/1").write_bytes(b"\1" * 32)
    assert code(journal, signer) == "log-tile"


def test_a_checkpoint_of_another_key_is_not_trusted(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer)
    with pytest.raises(dsse.UntrustedError):
        log.verify(journal.read, [Ed25519PrivateKey.generate().public_key()])


def test_what_a_kept_checkpoint_saw_must_still_be_there(
    journal: Log, signer: LocalSigner, tmp_path: Path
) -> None:
    """Even with the log's own key: a shorter log, a rewritten one, and another one."""
    fill(journal, signer, 3)
    known = note.parse(journal.read("checkpoint") or b"")
    log.verify(journal.read, [signer.public_key], known)
    fill(journal, signer, 1)
    log.verify(journal.read, [signer.public_key], known)
    shutil.rmtree(journal.folder)
    fill(journal, signer, 2)
    assert code(journal, signer, known) == "log-rollback"
    with journal.locked() as held:
        held.append([("plan", "another", DIGEST)], signer)
    assert code(journal, signer, known) == "log-forked"
    assert code(journal, signer, replace(known, origin="anlan.dev/log/other/00")) == "log-forked"


def test_an_entry_dated_before_the_one_above_is_named(tmp_path: Path, signer: LocalSigner) -> None:
    times = ("2026-11-25T03:00:00.000Z", "2020-01-01T00:00:00.000Z")
    leaves = [leaf_of("plan", "run", DIGEST, time) for time in times]
    files, root = tiles.grow(0, leaves, lambda path: None)
    head = note.sign(note.Checkpoint("anlan.dev/log/x/0", 2, root), signer).to_bytes()
    with pytest.raises(LogError) as caught:
        log.verify({**files, "checkpoint": head}.get, [signer.public_key])
    assert caught.value.code == "log-time"


@pytest.mark.parametrize(
    "leaf",
    [
        b"{}",
        b'{"kind":"plan","run_id":"a","statement":"' + b"ab" * 32 + b'"}',
        b'{"kind":"party","run_id":"a","statement":"%s","time":"2026-11-25T03:00:00.000Z"}'
        % (b"ab" * 32),
        b'{"kind":"plan","run_id":"a b","statement":"%s","time":"2026-11-25T03:00:00.000Z"}'
        % (b"ab" * 32),
        b'{"kind":"plan","run_id":"a","statement":"%s","time":"2026-13-25T03:00:00.000Z"}'
        % (b"ab" * 32),
        b'{"run_id":"a","kind":"plan","statement":"%s","time":"2026-11-25T03:00:00.000Z"}'
        % (b"ab" * 32),
    ],
)
def test_what_is_no_entry_is_refused(leaf: bytes) -> None:
    with pytest.raises(LogError) as caught:
        parse_entry(leaf, 7)
    assert caught.value.code == "log-entry"
    assert "entry 7" in str(caught.value)


def test_what_could_not_be_read_again_is_not_logged(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer, 1)
    with journal.locked() as held, pytest.raises(InputError, match="cannot be logged"):
        held.append([("plan", "fine", DIGEST), ("plan", "not fine", DIGEST)], signer)
    assert runs_of(journal, signer) == ["run-0"]


def test_a_damaged_log_is_never_appended_to(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer)
    file = journal.folder / "tile/entries/000.p/4"
    file.write_bytes(file.read_bytes().replace(b"plan", b"part"))
    before = file.read_bytes()
    with pytest.raises(InfrastructureError, match="entry 0"), journal.locked():
        pass
    assert file.read_bytes() == before


def test_time_never_goes_back_when_the_clock_does(tmp_path: Path, signer: LocalSigner) -> None:
    now = datetime(2026, 11, 25, 3, tzinfo=UTC)
    for shift in (0, -3600, 60):
        journal = Log(tmp_path / "local", lambda shift=shift: now + timedelta(seconds=shift))
        with journal.locked() as held:
            held.append([("plan", f"run{abs(shift)}", DIGEST)], signer)
    entries, _ = log.verify(journal.read, [signer.public_key])
    assert [(entry.time - now).total_seconds() for entry in entries] == [0, 0, 60]


def test_a_key_that_was_rotated_goes_on_with_the_same_log(
    journal: Log, signer: LocalSigner
) -> None:
    fill(journal, signer, 2)
    origin = note.parse(journal.read("checkpoint") or b"").origin
    newer = LocalSigner(Ed25519PrivateKey.generate())
    with journal.locked() as held:
        held.append([("run", "later", DIGEST)], newer)
    entries, checkpoint = log.verify(journal.read, [newer.public_key])
    assert ([one.run_id for one in entries][-1], checkpoint.origin) == ("later", origin)


def test_a_log_may_be_signed_with_p256(journal: Log) -> None:
    signer = LocalSigner(ec.generate_private_key(ec.SECP256R1()))
    fill(journal, signer, 2)
    assert runs_of(journal, signer) == ["run-0", "run-1"]
    content = journal.read("checkpoint") or b""
    head = note.parse(content)
    assert head.signatures[0].key.hex() == key_id(signer.public_key)[7:15]
    with pytest.raises(dsse.UntrustedError):
        note.verify(content, [ec.generate_private_key(ec.SECP256R1()).public_key()])
    with pytest.raises(dsse.SignatureError):
        note.verify(replace(head, size=3).to_bytes(), [signer.public_key])
    with pytest.raises(InputError, match="Ed25519"):
        note.cosign(head, "witness.example/p", signer, datetime.now(UTC))


def _append_many(folder: Path, name: str, count: int) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))
    for number in range(count):
        with Log(folder).locked() as held:
            held.append([("run", f"{name}-{number}", DIGEST)], signer)


def test_two_processes_append_while_others_read(journal: Log, signer: LocalSigner) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append_many, args=(journal.folder, name, 40))
        for name in ("left", "right")
    ]
    for worker in workers:
        worker.start()
    reads = 0
    while any(worker.is_alive() for worker in workers):
        journal.entries()
        if journal.read("checkpoint") is not None:
            journal.steadily(lambda read: log.verify(read, [signer.public_key]))
        reads += 1
    assert reads > 5
    assert [worker.exitcode for worker in workers] == [0, 0]
    for name in ("left", "right"):
        mine = [run for run in runs_of(journal, signer) if run.startswith(name)]
        assert mine == [f"{name}-{number}" for number in range(40)]


def _die_at_a_replace(folder: Path, number: int) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))
    replaced = Path.replace
    left = [number]

    def torn(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replaced(self, target)

    Path.replace = torn  # type: ignore[assignment]
    with Log(folder).locked() as held:
        held.append([("plan", "dead-1", DIGEST), ("plan", "dead-2", DIGEST)], signer)


@pytest.mark.parametrize("before", [2, 255, 256])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_kill_9_between_the_files_of_an_append_costs_at_most_that_append(
    journal: Log, signer: LocalSigner, number: int, before: int
) -> None:
    with journal.locked() as held:
        held.append([("run", f"r{n}", DIGEST) for n in range(before)], signer)
    child = multiprocessing.get_context("fork").Process(
        target=_die_at_a_replace, args=(journal.folder, number)
    )
    child.start()
    child.join(30)
    assert child.exitcode in {-signal.SIGKILL, 0}
    died = child.exitcode == -signal.SIGKILL
    assert len(runs_of(journal, signer)) == before + 2 * (not died)
    with journal.locked() as held:
        held.append([("plan", "next", DIGEST)], signer)
    assert runs_of(journal, signer)[before:] == ([] if died else ["dead-1", "dead-2"]) + ["next"]


def proven(journal: Log, signer: LocalSigner) -> tuple[bytes, Ed25519PublicKey]:
    fill(journal, signer)
    with journal.locked() as held:
        return held.proof(held.entries[1]), signer.public_key


def shown(content: bytes, key: Ed25519PublicKey) -> tuple[Entry, Checkpoint]:
    """The entry of a proof under a checkpoint that the key has signed."""
    entry, checkpoint = proofs.included(content, [key])
    if not note.signers(checkpoint, [key]):
        raise dsse.UntrustedError(checkpoint.origin)
    return entry, checkpoint


def test_a_proof_shows_its_entry_offline(journal: Log, signer: LocalSigner) -> None:
    content, key = proven(journal, signer)
    entry, checkpoint = shown(content, key)
    assert (entry.index, entry.run_id, checkpoint.size) == (1, "run-1", 4)
    assert content.startswith(b"c2sp.org/tlog-proof@v1\nextra ")


def test_not_a_byte_of_a_proof_can_be_changed(journal: Log, signer: LocalSigner) -> None:
    content, key = proven(journal, signer)
    for where in range(len(content)):
        changed = bytearray(content)
        changed[where] ^= 1
        with pytest.raises((LogError, dsse.UntrustedError)):
            shown(bytes(changed), key)


def test_a_proof_of_growth_is_read_as_it_was_written(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer)
    with journal.locked() as held:
        content = held.growth(3)
    growth = proofs.parse_growth(content)
    assert (growth.old, growth.to_bytes()) == (3, content)
    for wrong in (b"", content[1:], content.replace(b"old 3", b"old 03"), b"x" * 200_000):
        with pytest.raises(LogError):
            proofs.parse_growth(wrong)


def test_a_witness_signs_what_it_saw_and_when(journal: Log, signer: LocalSigner) -> None:
    fill(journal, signer)
    witness = LocalSigner(Ed25519PrivateKey.generate())
    moment = datetime(2026, 11, 25, 4, tzinfo=UTC)
    with journal.locked() as held:
        assert held.checkpoint is not None
        held.cosigned([note.cosign(held.checkpoint, "witness.example/b", witness, moment)])
    head = note.verify(journal.read("checkpoint") or b"", [signer.public_key])
    known = {"witness.example/b": witness.public_key}
    assert note.witnessed(head, known) == {"witness.example/b": moment}
    assert note.witnessed(head, {"witness.example/c": witness.public_key}) == {}
    grown = replace(head, size=5)
    with pytest.raises(dsse.SignatureError):
        note.witnessed(grown, known)


def test_the_published_checkpoint_vector_is_read() -> None:
    """The example of c2sp.org/tlog-cosignature, with its log's and its witness's signature."""
    content = (
        "example.com/behind-the-sofa\n20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
        "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
        "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
    head = note.parse(content)
    assert (head.size, len(head.signatures), head.to_bytes()) == (20852163, 2, content)
    assert int.from_bytes(head.signatures[1].value[:8], "big") == 1679315147


def test_a_writer_waits_for_the_other(journal: Log, signer: LocalSigner) -> None:
    order: list[str] = []

    def second() -> None:
        with journal.locked() as held:
            order.append("second")
            held.append([("plan", "second", DIGEST)], signer)

    with journal.locked() as held:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
        held.append([("plan", "first", DIGEST)], signer)
    thread.join(10)
    assert order == ["first", "second"] == runs_of(journal, signer)
