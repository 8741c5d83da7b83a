"""A witness: what it cosigns, what it refuses, and that it forgets nothing that it gave out."""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import signal
import stat
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from witnesses import DIGEST, NAME, Book, book, cosigned, signer_of, watching

from orchestrator.evidence.keys import LocalSigner
from orchestrator.evidence.tlog import merkle, note, proofs
from orchestrator.evidence.tlog.log import Log
from orchestrator.evidence.witness import folder as witness_folder
from orchestrator.evidence.witness import protocol as witness
from orchestrator.evidence.witness.folder import WitnessFolder
from orchestrator.model.errors import InfrastructureError, InputError, Refused

TRACED = ("evidence/witness/protocol.py", "evidence/witness/folder.py", "evidence/files.py")


@pytest.fixture
def log(tmp_path: Path) -> Book:
    return book(tmp_path / "log")


@pytest.fixture
def watched(tmp_path: Path, log: Book) -> WitnessFolder:
    return watching(tmp_path / "witness", log)


def status(watched: WitnessFolder, request: bytes) -> int:
    return watched.add_checkpoint(request).status


def remembered(watched: WitnessFolder) -> int | None:
    (one,) = watched.logs()
    return one.checkpoint.size if one.checkpoint else None


def signed(log: Book, size: int, root: bytes, old: int, path: tuple[bytes, ...] = ()) -> bytes:
    """A request whose checkpoint the log's owner signed, whatever it says."""
    head = note.sign(note.Checkpoint(log.head.origin, size, root), log.signer)
    return proofs.Growth(old, path, head.to_bytes()).to_bytes()


def test_a_log_that_grows_is_cosigned_step_by_step(watched: WitnessFolder, log: Book) -> None:
    old = 0
    for number in range(1, 8):
        answer = watched.add_checkpoint(log.request(old))
        assert (answer.status, cosigned(watched, log.head, answer.body)) == (200, True)
        assert remembered(watched) == log.head.size
        old = log.head.size
        log.grow(*(f"run-{number}-{n}" for n in range(number)))


def test_the_time_of_a_cosignature_is_when_it_was_given(tmp_path: Path, log: Book) -> None:
    folder = watching(tmp_path / "witness", log).folder
    moment = datetime(2026, 11, 29, 12, tzinfo=UTC)
    watched = WitnessFolder(folder, lambda: moment)
    answer = watched.add_checkpoint(log.request(0))
    head = log.head.with_signatures(note.parse_signatures(answer.body))
    assert note.witnessed(head, {NAME: watched.public_key}) == {NAME: moment}
    assert watched.logs()[0].at == moment


def test_the_same_head_is_cosigned_again(watched: WitnessFolder, log: Book) -> None:
    assert status(watched, log.request(0)) == 200
    answer = watched.add_checkpoint(log.request(1))
    assert cosigned(watched, log.head, answer.body)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"old 0\n",
        b"old 00\n\nx",
        b"old -1\n\nx",
        b"old 0\n\nnot a checkpoint\n",
        b"old 0\n" + b"A" * 44 + b"\n" * 2,
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
        b"x" * (witness.MOST_BYTES + 1),
    ],
)
def test_what_is_no_request_is_a_bad_one(watched: WitnessFolder, request_: bytes) -> None:
    assert status(watched, request_) == 400


def test_an_old_size_beyond_the_checkpoint_is_a_bad_request(
    watched: WitnessFolder, log: Book
) -> None:
    assert status(watched, log.request(1).replace(b"old 1\n", b"old 2\n")) == 400


def test_a_log_that_it_does_not_know_is_not_found(watched: WitnessFolder, tmp_path: Path) -> None:
    other = Book(Log(tmp_path / "other"), signer_of(7)).grow("run-0")
    assert status(watched, other.request(0)) == 404
    assert len(watched.logs()) == 1


def test_a_signature_of_another_key_or_a_changed_one_is_forbidden(
    watched: WitnessFolder, log: Book
) -> None:
    other = note.sign(log.head, signer_of(9))
    assert status(watched, proofs.Growth(0, (), other.to_bytes()).to_bytes()) == 403
    changed = replace(log.head, root=b"\1" * 32)
    assert status(watched, proofs.Growth(0, (), changed.to_bytes()).to_bytes()) == 403
    assert remembered(watched) is None


def test_a_conflict_tells_the_size_that_it_knows(watched: WitnessFolder, log: Book) -> None:
    watched.add_checkpoint(log.request(0))
    log.grow("run-1")
    answer = watched.add_checkpoint(log.request(0))
    assert (answer.status, answer.body, answer.kind) == (409, b"1\n", "text/x.tlog.size")
    assert status(watched, log.request(witness.known_size(answer))) == 200
    never = watched.add_checkpoint(log.request(1))
    assert (never.status, never.body) == (409, b"2\n")


def test_a_log_that_was_forked_is_refused(
    watched: WitnessFolder, log: Book, tmp_path: Path
) -> None:
    fork = log.copy(tmp_path / "fork")
    log.grow("run-1")
    fork.grow("run-9")
    assert status(watched, log.request(0)) == 200
    assert status(watched, fork.request(2)) == 422  # as large, another root
    fork.grow("run-10")
    assert status(watched, fork.request(2)) == 422  # larger, and does not continue it
    assert status(watched, fork.request(0)) == 409
    assert remembered(watched) == 2
    assert status(watched, log.grow("run-2").request(2)) == 200


def test_a_log_that_was_rolled_back_is_refused(
    watched: WitnessFolder, log: Book, tmp_path: Path
) -> None:
    before = log.copy(tmp_path / "before")
    log.grow("run-1", "run-2")
    assert status(watched, log.request(0)) == 200
    for old in (0, 1):
        answer = watched.add_checkpoint(before.request(old))
        assert (answer.status, answer.body) == (409, b"3\n")
    assert remembered(watched) == 3


def test_a_proof_that_does_not_hold_is_unprocessable(watched: WitnessFolder, log: Book) -> None:
    log.grow("run-1", "run-2")
    size, root = log.head.size, log.head.root
    assert status(watched, signed(log, size, root, 0, (b"\0" * 32,))) == 422
    assert status(watched, signed(log, 0, b"\0" * 32, 0)) == 422
    assert status(watched, signed(log, 0, merkle.EMPTY_ROOT, 0)) == 200
    assert status(watched, log.request(0)) == 200
    log.grow("run-3")
    assert status(watched, signed(log, log.head.size, log.head.root, 3)) == 422
    good = proofs.parse_growth(log.request(3))
    for path in (good.path[:-1], (*good.path, b"\0" * 32), good.path[::-1][:1] * len(good.path)):
        assert status(watched, replace(good, path=path).to_bytes()) == 422
    assert status(watched, good.to_bytes()) == 200


def test_lines_that_others_added_to_a_note_are_not_kept(watched: WitnessFolder, log: Book) -> None:
    origin = log.head.origin
    noise = [note.NoteSignature(origin, b"abcd", bytes([n, n])) for n in range(250)]
    crowded = log.head.with_signatures(noise)
    assert status(watched, proofs.Growth(0, (), crowded.to_bytes()).to_bytes()) == 200
    kept = (watched.logs()[0].file).read_bytes()
    assert len(note.parse(kept).signatures) == 2
    assert note.verify(kept, [log.signer.public_key]).root == log.head.root


def test_a_rotated_key_is_accepted_beside_the_old_one(watched: WitnessFolder, log: Book) -> None:
    assert status(watched, log.request(0)) == 200
    rotated = LocalSigner(ec.generate_private_key(ec.SECP256R1()))
    with log.log.locked() as held:
        held.append([("run", "run-1", DIGEST)], rotated)
    assert status(watched, log.request(1)) == 403
    assert watched.trust(log.head.origin, rotated.public_key)
    assert not watched.trust(log.head.origin, rotated.public_key)
    assert status(watched, log.request(1)) == 200
    assert len(watched.logs()[0].keys) == 2


@pytest.mark.parametrize("origin", ["", "two words", "a\nb", "a+b"])
def test_an_origin_that_is_none_is_refused(watched: WitnessFolder, origin: str) -> None:
    with pytest.raises(InputError, match="no origin of a log"):
        watched.trust(origin, signer_of().public_key)


def test_what_it_cannot_read_it_does_not_take_for_nothing(
    watched: WitnessFolder, log: Book
) -> None:
    watched.add_checkpoint(log.request(0))
    watched.logs()[0].file.write_bytes(b"")
    for old in (0, 1):
        with pytest.raises(InfrastructureError, match="cannot use its folder"):
            watched.add_checkpoint(log.request(old))


def test_a_witness_is_made_once(tmp_path: Path) -> None:
    made = witness_folder.init(tmp_path / "w", NAME)
    key = tmp_path / "w/witness.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert witness_folder.init(tmp_path / "w", NAME).public_key == made.public_key
    with pytest.raises(Refused, match="is the witness"):
        witness_folder.init(tmp_path / "w", "another")
    (tmp_path / "w/witness.json").unlink()  # killed before it was whole
    assert witness_folder.init(tmp_path / "w", NAME).public_key == made.public_key
    key.chmod(0o640)
    with pytest.raises(InputError, match="others than its owner"):
        WitnessFolder(tmp_path / "w")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("mine")
    with pytest.raises(Refused, match="holds something else"):
        witness_folder.init(tmp_path, NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]
    with pytest.raises(InputError, match="no name of a witness"):
        witness_folder.init(tmp_path / "w", "Upper Case")
    with pytest.raises(InputError, match="no witness is here"):
        WitnessFolder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"anlan.dev/log/another/0123456789abcdef"])
def test_a_log_whose_name_was_changed_is_not_shown_as_another(
    watched: WitnessFolder, content: bytes
) -> None:
    (origin,) = watched.folder.glob("logs/*/origin")
    origin.write_bytes(content)
    with pytest.raises(InfrastructureError, match="is not the origin that its folder is of"):
        watched.logs()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[]"])
def test_a_damaged_witness_is_not_said_to_be_none(watched: WitnessFolder, content: bytes) -> None:
    (watched.folder / "witness.json").write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged\n.*put that file back"):
        WitnessFolder(watched.folder)


def test_its_key_in_one_line_is_that_of_its_cosignatures(watched: WitnessFolder, log: Book) -> None:
    (one,) = note.parse_signatures(watched.add_checkpoint(log.request(0)).body)
    name, hash_, key = note.verifier_key(NAME, watched.public_key).split("+", 2)
    assert (name, bytes.fromhex(hash_)) == (one.name, one.key)
    assert base64.b64decode(key) == b"\x04" + watched.public_key.public_bytes_raw()


def _ask(folder: Path, request: bytes, gate: Any, answers: Any) -> None:
    gate.wait(30)
    answers.put(WitnessFolder(folder).add_checkpoint(request).status)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_many_histories_at_once_one_alone_is_cosigned(
    tmp_path: Path, watched: WitnessFolder, log: Book, kind: str
) -> None:
    watched.add_checkpoint(log.request(0))
    forks = [log.copy(tmp_path / f"fork-{n}").grow(f"other-{n}") for n in range(6)]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    gate = threading.Barrier(6) if kind == "threads" else context.Barrier(6)
    make: Any = threading.Thread if kind == "threads" else context.Process
    workers = [
        make(target=_ask, args=(watched.folder, fork.request(1), gate, answers)) for fork in forks
    ]
    for one in workers:
        one.start()
    got = sorted(answers.get(timeout=30) for _ in workers)
    for one in workers:
        one.join(30)
    assert got == [200] + [409] * 5
    (head,) = [one.checkpoint for one in watched.logs()]
    assert head and head.root in {fork.head.root for fork in forks}


def _killer(lines_left: int) -> Any:
    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines_left
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            lines_left -= 1
            if lines_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def _killed(folder: Path, request: bytes, lines: int, out: Any) -> None:
    watched = WitnessFolder(folder)
    sys.settrace(_killer(lines))
    answer = watched.add_checkpoint(request)
    out.send_bytes(answer.body)  # given out
    sys.settrace(None)


def test_kill_9_at_any_line_never_lets_it_forget_what_it_gave_out(
    tmp_path: Path, watched: WitnessFolder, log: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A killed process loses nothing that the kernel has: a hundred kills need no disk.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    watched.add_checkpoint(log.request(0))
    context = multiprocessing.get_context("fork")
    lines, given, between = 0, False, 0
    while not given:
        old = log.head.size
        other = log.copy(tmp_path / f"other-{lines}").grow("another")
        request = log.grow(f"run-{lines}").request(old)
        here, there = context.Pipe(False)
        child = context.Process(target=_killed, args=(watched.folder, request, lines, there))
        child.start()
        there.close()
        child.join(30)
        with contextlib.suppress(EOFError):
            given = bool(here.recv_bytes())
        assert child.exitcode == (0 if given else -signal.SIGKILL)
        known = remembered(watched)
        assert known == old + 1 or (known == old and not given)
        if known == old + 1:
            between += not given
            assert status(watched, other.request(old)) == 409
        assert status(watched, log.request(known)) == 200  # it can always go on
        lines += 1
    assert lines > 40, "the tracer saw nothing of the witness"
    assert between > 0, "no kill was between what it remembers and its answer"
