"""Recording with witnesses and timestamp authorities: what each does, nobody stops a drill."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from authorities import Openssl, make
from authorities import served as served_authority
from cryptography.hazmat.primitives.asymmetric import ec
from run_samples import REDERIVE, Clock, Sample, write_plan, write_result
from test_evidence_cli import anlan
from witnesses import NAME, served, signer_of

from orchestrator.drivers.timestamp_authority import TimestampAuthority
from orchestrator.drivers.witness import FolderWitness, HttpWitness
from orchestrator.evidence import EvidenceStore, LocalSigner, Trust, bundle, layout, verify
from orchestrator.evidence.audit import Audit, audit
from orchestrator.evidence.settings import load_settings
from orchestrator.evidence.timestamp import timestamps
from orchestrator.evidence.tlog import log, note
from orchestrator.evidence.tlog.proofs import parse_proof
from orchestrator.evidence.witness import folder as witness_folder
from orchestrator.evidence.witness import vouching
from orchestrator.evidence.witness.folder import WitnessFolder
from orchestrator.evidence.witness.protocol import Answer
from orchestrator.evidence.witness.vouching import Vouchers
from orchestrator.model.errors import InputError
from orchestrator.model.folders import data_folder
from orchestrator.model.schedule import applied, parse_schedule
from stacks.components.config import StackConfig
from stacks.components.descriptor import describe
from stacks.components.layout import Layout
from stacks.places import service_user

SAMPLE = Sample(drill="backup", run_id="backup-0001")
REPLY = "application/timestamp-reply"
TSA = "tsa.example"
TRACED = ("evidence/witness/vouching.py", "evidence/store.py", "evidence/tlog/log.py")


@pytest.fixture(scope="module")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    return make(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def authority(openssl: Openssl) -> Iterator[TimestampAuthority]:
    with served_authority(lambda asked: (200, REPLY, iter([openssl.reply(asked)]))) as url:
        yield TimestampAuthority(url, openssl.trusted(), timeout_seconds=3)


@dataclass
class Place:
    """A state directory, and who is asked; warnings are what the store told."""

    state: Path
    vouchers: Vouchers
    warnings: list[str] = field(default_factory=list)
    signer = signer_of(3)

    def store(self, shift: timedelta = timedelta(milliseconds=-500)) -> EvidenceStore:
        clock = Clock(SAMPLE.started_at + shift)
        return EvidenceStore(
            self.state, self.signer, clock, vouchers=self.vouchers, warn=self.warnings.append
        )

    def plan(self, sample: Sample = SAMPLE) -> Path:
        run_dir = self.state / "runs" / sample.run_id
        write_plan(run_dir, sample)
        self.store().record_plan(run_dir)
        return run_dir

    def run(self, sample: Sample = SAMPLE) -> Path:
        run_dir = self.plan(sample)
        write_result(run_dir, sample)
        self.store(timedelta(minutes=5)).record_run(run_dir)
        return run_dir

    @property
    def log(self) -> log.Log:
        return log.log_of(self.state, "local")

    @property
    def head(self) -> note.Checkpoint:
        return note.parse(self.log.read("checkpoint") or b"")

    def audit(self) -> Audit:
        return audit(self.state, "local", [self.signer.public_key])

    def results(self) -> dict[str, str]:
        return {one.name: one.result for one in vouching.outcomes_of(self.log.folder)}


ORIGIN = "anlan.dev/log/local/0123456789abcdef"
"""The origin that a log here begins with, so that a witness knows it before."""


@pytest.fixture(autouse=True)
def _known_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "new_id", lambda: ORIGIN.rpartition("/")[2])


def watching(folder: Path, place: Place, name: str = NAME) -> WitnessFolder:
    made = witness_folder.init(folder, name)
    made.trust(ORIGIN, place.signer.public_key)
    return made


def proven(run_dir: Path, kind: str) -> note.Checkpoint:
    """The checkpoint in a proof of a run."""
    return note.parse(parse_proof((run_dir / layout.PROOFS[kind]).read_bytes()).checkpoint)


def digest(run_dir: Path, kind: str) -> bytes:
    return hashlib.sha256(proven(run_dir, kind).body).digest()


def token(run_dir: Path, kind: str, authority: str = TSA) -> bytes:
    return (run_dir / layout.timestamp_path(kind, authority)).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state", Vouchers())


@pytest.fixture
def watched(tmp_path: Path, place: Place) -> WitnessFolder:
    return watching(tmp_path / "w", place)


def folder_of(watched: WitnessFolder) -> FolderWitness:
    return FolderWitness(watched.name, watched.public_key, watched.folder)


@contextmanager
def hanging() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_plan_and_result_are_cosigned_and_stamped_before_their_proofs_are_kept(
    place: Place, watched: WitnessFolder, authority: TimestampAuthority, openssl: Openssl
) -> None:
    with served(watched.folder) as (url, _, _):
        witness = HttpWitness(watched.name, watched.public_key, url, 3)
        place.vouchers = Vouchers((witness,), (authority,))
        plan = place.plan()
        keys = {watched.name: watched.public_key}
        assert note.witnessed(proven(plan, "plan"), keys).keys() == {NAME}
        before = datetime.now(UTC) + timedelta(seconds=1)
        stamp = timestamps.verify(token(plan, "plan"), digest(plan, "plan"), [openssl.trusted()])
        assert before - timedelta(minutes=1) < stamp.time < before
        write_result(plan, SAMPLE)
        place.store(timedelta(minutes=5)).record_run(plan)
        for kind in ("controls", "run"):
            assert note.witnessed(proven(plan, kind), keys).keys() == {NAME}
        assert timestamps.verify(token(plan, "run"), digest(plan, "run"), [openssl.trusted()])
        assert digest(plan, "run") != digest(plan, "plan")
    assert place.warnings == []
    assert set(place.results().values()) == {"vouched"}
    assert place.audit().status == "VALID"
    packed = place.store().export(plan, place.state / "bundle.zip").read_bytes()
    found = verify(packed, Trust.of([place.signer.public_key]), REDERIVE)
    assert (found.status, found.problems) == ("VALID", ())
    contents = bundle.unpack(packed)
    assert contents["log/plan.tsa.example.tst"] == token(plan, "plan")
    assert contents["log/run.tsa.example.tst"] == token(plan, "run")


def test_who_vouched_already_is_not_asked_again(
    place: Place, watched: WitnessFolder, openssl: Openssl
) -> None:
    asked: list[str] = []

    def answer(query: bytes) -> tuple[int, str, Iterator[bytes]]:
        asked.append("authority")
        return 200, REPLY, iter([openssl.reply(query)])

    class Counting(FolderWitness):
        def add_checkpoint(self, request: bytes) -> Answer:
            asked.append("witness")
            return super().add_checkpoint(request)

    with served_authority(answer) as url:
        authority = TimestampAuthority(url, openssl.trusted())
        witness = Counting(watched.name, watched.public_key, watched.folder)
        place.vouchers = Vouchers((witness,), (authority,))
        run_dir = place.run()
        assert sorted(asked) == ["authority"] * 2 + ["witness"] * 2  # the old size was known
        kept = files_of(place.state)
        place.store().record_plan(run_dir)
        place.store(timedelta(minutes=5)).record_run(run_dir)
        assert [one.result for one in place.store().cosign("local")] == ["vouched"] * 2
        assert len(asked) == 4
        (place.state / "evidence/log/local/vouching.json").write_bytes(
            kept["evidence/log/local/vouching.json"]
        )
        assert files_of(place.state) == kept


def files_of(state: Path) -> dict[str, bytes]:
    return {
        path.relative_to(state).as_posix(): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_one_that_is_down_is_noted_and_caught_up_with_the_next_append(
    place: Place, watched: WitnessFolder, tmp_path: Path, authority: TimestampAuthority
) -> None:
    other = watching(tmp_path / "other", place, "second.site/w2")
    down = HttpWitness(other.name, other.public_key, "http://127.0.0.1:9", 3)
    place.vouchers = Vouchers((folder_of(watched), down), (authority,))
    run_dir = place.run()
    keys = {one.name: one.public_key for one in (watched, other)}
    assert note.witnessed(proven(run_dir, "run"), keys).keys() == {NAME}
    assert place.results() == {NAME: "vouched", other.name: "failed", TSA: "vouched"}
    assert len(place.warnings) == 2
    assert "witness second.site/w2 did not vouch for the log of 1 entry" in place.warnings[0]
    assert place.warnings[0].endswith("[Errno 111] Connection refused")
    assert place.audit().status == "VALID"
    assert [one.name for one in place.audit().vouching if one.result == "failed"] == [other.name]
    place.warnings.clear()
    place.vouchers = Vouchers((folder_of(watched), folder_of(other)), (authority,))
    again = place.run(replace(SAMPLE, run_id="backup-0002"))
    assert note.witnessed(proven(again, "plan"), keys).keys() == set(keys)
    assert place.warnings == []


def test_one_that_hangs_costs_a_bounded_time_and_nothing_else(
    place: Place, watched: WitnessFolder, authority: TimestampAuthority, openssl: Openssl
) -> None:
    with hanging() as url:
        hung = HttpWitness("hung.example", watched.public_key, url, 60)
        late = TimestampAuthority(url, replace(openssl.trusted(), name="late.example"))
        place.vouchers = Vouchers((folder_of(watched), hung), (authority, late), seconds=1.0)
        began = time.monotonic()
        run_dir = place.plan()
        assert 1.0 <= time.monotonic() - began < 8
    assert note.witnessed(proven(run_dir, "plan"), {NAME: watched.public_key})
    assert token(run_dir, "plan")
    failed = {name for name, result in place.results().items() if result == "failed"}
    assert failed == {"hung.example", "late.example"}
    assert all("no answer within 1 s" in one for one in place.warnings)


def flipped(line: bytes) -> bytes:
    (one,) = note.parse_signatures(line)
    return replace(one, value=one.value[:-1] + bytes([one.value[-1] ^ 1])).to_text().encode()


def at(head: note.Checkpoint, signer: LocalSigner, seconds: int) -> bytes:
    """What a witness signs whose clock is far off."""
    mine = note.cosign(head, NAME, signer, datetime.now(UTC))
    value = signer.sign(b"cosignature/v1\ntime %d\n" % seconds + head.body)
    return replace(mine, value=seconds.to_bytes(8, "big") + value).to_text().encode()


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda good, head, own: good.replace(b" ", b"", 1), "no cosignature"),
        (lambda good, head, own: good[:-1], "no cosignature"),
        (lambda good, head, own: flipped(good), "no cosignature"),
        (lambda good, head, own: b"x" * 60_000, "no cosignature"),
        (lambda good, head, own: at(head, own, 2**62), "no cosignature"),
        (lambda good, head, own: at(head, own, 2**33), "of a time to come"),
        (lambda good, head, own: b"", "not of the key"),
        (lambda good, head, own: good.replace(b"w1", b"w2"), "not of the key"),
        (lambda good, head, own: at(head, signer_of(99), 1_700_000_000), "not of the key"),
        (lambda good, head, own: at(replace(head, size=9), own, 1_700_000_000), "no cosignature"),
    ],
)
def test_a_witness_that_lies_is_believed_nothing(
    place: Place,
    watched: WitnessFolder,
    lie: Callable[[bytes, note.Checkpoint, LocalSigner], bytes],
    says: str,
) -> None:
    own = LocalSigner.from_file(watched.folder / "witness.key", lambda: "")

    class Lying(FolderWitness):
        def add_checkpoint(self, request: bytes) -> Answer:
            answer = super().add_checkpoint(request)
            return replace(answer, body=lie(answer.body, place.head, own))

    place.vouchers = Vouchers((Lying(watched.name, watched.public_key, watched.folder),))
    run_dir = place.plan()
    assert [one.name for one in proven(run_dir, "plan").signatures] == [ORIGIN]
    assert place.results() == {NAME: "failed"}
    assert says in place.warnings[0]


@pytest.mark.parametrize(
    ("status", "body"), [(409, b"many\n"), (409, b"0\n"), (500, b"\x1b[31mno\n"), (302, b"")]
)
def test_another_answer_is_noted_and_does_no_harm(
    place: Place, watched: WitnessFolder, status: int, body: bytes
) -> None:
    class Odd(FolderWitness):
        def add_checkpoint(self, request: bytes) -> Answer:
            return Answer(status, body)

    place.vouchers = Vouchers((Odd(watched.name, watched.public_key, watched.folder),))
    place.run()
    assert place.results() == {NAME: "failed"}
    assert str(status) in place.warnings[0]
    assert "\x1b" not in place.warnings[0]


def test_what_is_no_answer_of_a_timestamp_authority_is_not_kept(
    place: Place, authority: TimestampAuthority, openssl: Openssl, tmp_path: Path
) -> None:
    stranger = make(tmp_path / "stranger")
    with served_authority(lambda asked: (200, REPLY, iter([stranger.reply(asked)]))) as url:
        place.vouchers = Vouchers((), (TimestampAuthority(url, openssl.trusted()),))
        run_dir = place.plan()
    assert not (run_dir / layout.timestamp_path("plan", TSA)).exists()
    assert "gave no good timestamp" in place.warnings[0]


def test_a_log_that_forked_raises_an_alarm_and_stops_no_drill(
    place: Place, watched: WitnessFolder, tmp_path: Path
) -> None:
    place.vouchers = Vouchers((folder_of(watched),))
    other = Place(tmp_path / "other", place.vouchers)
    other.run(replace(SAMPLE, run_id="backup-0009"))  # the same key, another history
    run_dir = place.plan()  # one entry: the witness knows three
    write_result(run_dir, SAMPLE)
    place.store(timedelta(minutes=5)).record_run(run_dir)  # three others
    assert place.results() == {NAME: "contradicted"}
    assert [one.startswith(f"ALARM: witness {NAME} contradicts") for one in place.warnings] == [
        True,
        True,
    ]
    assert "tail was cut" in place.warnings[0]
    assert "does not continue the 3 entries" in place.warnings[1]
    found = place.audit()
    assert found.status == "INVALID"
    assert [one.code for one in found.problems] == ["log-forked"]
    packed = place.store().export(run_dir, place.state / "bundle.zip")
    assert verify(packed, Trust.of([place.signer.public_key]), REDERIVE).status == "VALID"
    assert [one.result for one in place.store().cosign("local")] == ["contradicted"]


def test_a_log_from_an_older_copy_raises_an_alarm_until_the_right_one_is_back(
    place: Place, watched: WitnessFolder, tmp_path: Path
) -> None:
    place.vouchers = Vouchers((folder_of(watched),))
    place.run()
    shutil.copytree(place.state, tmp_path / "older")
    place.run(replace(SAMPLE, run_id="backup-0002"))
    older = Place(tmp_path / "older", place.vouchers)
    older.plan(replace(SAMPLE, run_id="backup-0003"))
    assert older.results() == {NAME: "contradicted"}
    assert [one.result for one in place.store().cosign("local")] == ["vouched"]
    assert place.audit().problems == ()


def test_what_a_killed_run_did_not_keep_of_an_answer_is_asked_for_again(
    place: Place, watched: WitnessFolder
) -> None:
    place.plan()
    with place.log.locked() as held:
        assert watched.add_checkpoint(held.growth(0)).status == 200  # and was killed
    place.vouchers = Vouchers((folder_of(watched),))
    assert [one.result for one in place.store().cosign("local")] == ["vouched"]
    assert NAME in note.witnessed(place.head, {NAME: watched.public_key})


def test_a_token_over_an_older_head_is_not_kept_beside_a_newer_proof(
    place: Place, authority: TimestampAuthority
) -> None:
    place.vouchers = Vouchers((), (authority,))
    run_dir = place.plan()
    assert token(run_dir, "plan")
    (run_dir / layout.PROOFS["plan"]).unlink()  # killed before it was written
    gone = replace(authority._authority, name=TSA)
    place.vouchers = Vouchers((), (TimestampAuthority("http://127.0.0.1:9", gone),))
    place.plan(replace(SAMPLE, run_id="backup-0002"))
    place.store().record_plan(run_dir)
    assert proven(run_dir, "plan").size == 2
    assert not list(run_dir.glob("log/*.tst"))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"outcomes":[1]}', b'{"outcomes":[{"at":1}]}', b'{"outcomes":[{}]}'],
)
def test_a_note_of_the_last_answers_that_is_damaged_is_named(
    place: Place, watched: WitnessFolder, content: bytes
) -> None:
    place.vouchers = Vouchers((folder_of(watched),))
    place.run()
    (place.log.folder / "vouching.json").write_bytes(content)
    assert [one.code for one in place.audit().problems] == ["malformed"]
    place.store().cosign("local")
    assert place.audit().problems == ()


def test_a_schedule_is_vouched_for_too(place: Place, watched: WitnessFolder) -> None:
    place.vouchers = Vouchers((folder_of(watched),))
    text = (data_folder("drills") / "schedules" / "standard.yaml").read_text()
    wished = parse_schedule(text)
    record = applied(wished, "local", "VIP", "ops", SAMPLE.started_at)
    place.store().record_schedule(record)
    assert NAME in note.witnessed(place.head, {NAME: watched.public_key})


@dataclass(frozen=True)
class Kept:
    """An authority that gave its tokens before: the same log gets the same ones."""

    tokens: dict[bytes, bytes]
    name: str = TSA

    def stamp(self, digest: bytes) -> tuple[bytes, object]:
        return self.tokens[digest], None


def _killer(events_left: int | None) -> Any:
    lock = threading.Lock()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            with lock:
                trace.lines += 1  # type: ignore[attr-defined]
                if events_left is not None and trace.lines > events_left:  # type: ignore[attr-defined]
                    os.kill(os.getpid(), signal.SIGKILL)
        return trace

    trace.lines = 0  # type: ignore[attr-defined]
    return trace


def _traced(place: Place, run_dir: Path, tracer: Any) -> None:
    threading.settrace(tracer)
    sys.settrace(tracer)
    place.store().record_plan(run_dir)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def test_kill_9_while_they_are_asked_leaves_the_plan_vouched_for_in_the_end(
    tmp_path: Path, openssl: Openssl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    first = Place(tmp_path / "first" / "state", Vouchers())
    first.plan()
    tokens = {(said := hashlib.sha256(first.head.body).digest()): openssl.token(said)}
    context = multiprocessing.get_context("fork")
    tracer, lines, events = _killer(None), 10_000, 0
    expected: dict[str, bytes] = {}
    while events < lines:
        place = Place(tmp_path / f"{events}" / "state", Vouchers())
        watched = watching(tmp_path / f"{events}" / "w", place)
        place.vouchers = Vouchers((folder_of(watched),), (Kept(tokens),))
        run_dir = place.state / "runs" / SAMPLE.run_id
        write_plan(run_dir, SAMPLE)
        if not expected:  # in peace, to count
            _traced(place, run_dir, tracer)
            lines = tracer.lines
            expected = {"token": token(run_dir, "plan")}
            shutil.rmtree(place.state.parent)
            continue
        child = context.Process(target=_traced, args=(place, run_dir, _killer(events)))
        child.start()
        child.join(30)
        place.store().record_plan(run_dir)
        assert NAME in note.witnessed(proven(run_dir, "plan"), {NAME: watched.public_key}), events
        assert token(run_dir, "plan") == expected["token"]
        assert len(place.log.entries()) == 1
        assert place.audit().problems == ()
        shutil.rmtree(place.state.parent)
        events += 5  # some lines apart: the tests of the store have each
    assert lines > 100, "the tracer saw nothing of the recorder"


def settings(watched: WitnessFolder, openssl: Openssl) -> dict[str, Any]:
    witness = {"name": NAME, "url": f"file://{watched.folder}"}
    tsa = {"name": TSA, "url": "http://127.0.0.1:9", "roots": openssl.pem("root").decode()}
    return {
        "schema": "anlan.evidence-settings/v1",
        "witnesses": [{**witness, "public_key": watched.public_key_pem()}],
        "timestamp_authorities": [{**tsa, "intermediates": openssl.pem("between").decode()}],
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda good: good["witnesses"][0].update(public_key="nothing"), "not a PEM public key"),
        (
            lambda good: good["witnesses"][0].update(
                public_key=LocalSigner(ec.generate_private_key(ec.SECP256R1())).public_key_pem()
            ),
            "a witness has an Ed25519 key",
        ),
        (lambda good: good["witnesses"].append(good["witnesses"][0]), "is there 2 times"),
        (lambda good: good["timestamp_authorities"][0].update(roots="x"), "not PEM certificates"),
        (
            lambda good: good["timestamp_authorities"].append(good["timestamp_authorities"][0]),
            "is there 2 times",
        ),
    ],
)
def test_settings_that_could_not_be_asked_are_refused_before_a_drill(
    tmp_path: Path,
    watched: WitnessFolder,
    openssl: Openssl,
    change: Callable[[dict[str, Any]], object],
    says: str,
) -> None:
    path = tmp_path / "evidence.yaml"
    good = settings(watched, openssl)
    path.write_text(json.dumps(good))
    assert load_settings(path) == good
    change(good)
    path.write_text(json.dumps(good))
    with pytest.raises(InputError, match=says) as refused:
        load_settings(path)
    assert refused.value.file == str(path)
    assert refused.value.path.startswith("$.")


def test_the_command_asks_who_did_not_vouch_yet(
    place: Place, watched: WitnessFolder, openssl: Openssl, tmp_path: Path
) -> None:
    place.plan()
    addresses = dict.fromkeys(("a", "b", "common"), "127.0.14.250")
    config = StackConfig(name="local", root=tmp_path / "gone", link=None, addresses=addresses)
    layout = Layout(config, service_user(), tmp_path / "cache", tmp_path / "venv")
    descriptor = describe(layout, "0" * 64)
    file = place.state / "env" / "local" / "environment.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(descriptor))
    nobody = anlan("evidence", "log", "cosign", "local", state=place.state)
    assert (nobody.returncode, "names no witness" in nobody.stderr) == (2, True)
    wished = settings(watched, openssl)
    with served_authority(lambda asked: (200, REPLY, iter([openssl.reply(asked)]))) as url:
        for address, code in (("http://127.0.0.1:9", 4), (url, 0)):
            wished["timestamp_authorities"][0]["url"] = address
            file.write_text(json.dumps({**descriptor, "evidence": wished}))
            done = anlan("evidence", "log", "cosign", "local", state=place.state)
            assert done.returncode == code, done.stdout + done.stderr
            assert f"local: witness {NAME} vouches for the log of 1 entry" in done.stdout
    shown = anlan("evidence", "log", "cosign", "--json", state=place.state)
    assert [one["result"] for one in json.loads(shown.stdout)["local"]] == ["vouched"] * 2
    stamp = (place.log.folder / f"checkpoint.{TSA}.tst").read_bytes()
    said = hashlib.sha256(place.head.body).digest()
    assert timestamps.verify(stamp, said, [openssl.trusted()])
    key = tmp_path / "evidence.pub"
    key.write_text(place.signer.public_key_pem())
    verified = anlan("evidence", "log", "verify", "local", "--trust", key, state=place.state)
    assert (verified.returncode, "not vouched" in verified.stdout) == (0, False), verified.stdout
    (watched.folder / "witness.key").unlink()
    place.run(replace(SAMPLE, run_id="backup-0002"))  # by a store that asks nobody
    assert anlan("evidence", "log", "cosign", state=place.state).returncode == 4
    verified = anlan("evidence", "log", "verify", "local", "--trust", key, state=place.state)
    assert (verified.returncode, verified.stdout.count("not vouched")) == (0, 2), verified.stdout
