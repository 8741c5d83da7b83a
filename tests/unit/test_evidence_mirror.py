"""The log in the evidence buckets: what is put when, and what comes back from whatever is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from memory_bucket import Died, MemoryBucket
from run_samples import Clock, Sample, record, write_plan

from orchestrator.engine import restore as engine
from orchestrator.engine.mirror import mirror_to
from orchestrator.engine.restore import Restored, list_logs, restore
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.audit import audit
from orchestrator.evidence.sites import mirror
from orchestrator.evidence.tlog import log, note, tiles
from orchestrator.evidence.tlog.tiles import CHECKPOINT
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.schedule import applied, parse_schedule

DIGEST = "ab" * 32
FIRST = Sample(drill="backup", run_id="backup-0001")
SECOND = Sample(
    drill="restore", run_id="restore-0002", started_at=datetime(2026, 11, 25, 4, tzinfo=UTC)
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deaths here are exceptions, which lose nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture
def state(tmp_path: Path, signer: LocalSigner) -> Path:
    """A state directory with a schedule and a run, its bundle included."""
    state = tmp_path / "state"
    EvidenceStore(state, signer, Clock(FIRST.started_at - timedelta(hours=1))).record_schedule(
        schedule()
    )
    drill(state, FIRST, signer)
    return state


def schedule(name: str = "monthly") -> dict[str, object]:
    """An applied schedule of which no run is ever due."""
    text = f"""
schema: anlan.schedule/v1
title: {{en: {name}, zh: 每月}}
entries: [{{id: monthly, drill: backup, cron: "0 3 1 * *"}}]
blackouts: [{{from: '2026-01-01T00:00:00Z', until: '2999-01-01T00:00:00Z', reason: a test}}]
"""
    return applied(parse_schedule(text), "local", "VIP", "ops", FIRST.started_at)


def drill(state: Path, sample: Sample, signer: LocalSigner) -> None:
    run_dir = record(state, sample, signer)
    EvidenceStore(state, signer).export(run_dir, state / "evidence/bundles" / f"{run_dir.name}.zip")


def keep(bucket: MemoryBucket, state: Path, *, whole: bool = False) -> list[str]:
    """Put bundles, then the log, as a run does; return the keys of the log that were put."""
    for path in sorted((state / "evidence/bundles").glob("*.zip")):
        bucket.put_once(path.name, path.read_bytes())
    put: list[str] = []
    mirror_to(bucket, "a", state, "local", put.append, whole=whole)
    return put


def back(
    state: Path, signer: LocalSigner, *buckets: MemoryBucket, log_id: str | None = None
) -> Restored:
    named = dict(zip("abc", buckets, strict=False))
    return restore(named, state, "local", [signer.public_key], log_id)


def files(state: Path) -> dict[str, bytes]:
    return {
        path.relative_to(state).as_posix(): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def head_of(state: Path) -> note.Checkpoint:
    return note.parse(log.log_of(state, "local").read(CHECKPOINT) or b"")


def grow(state: Path, signer: LocalSigner, count: int, name: str = "r") -> None:
    with log.log_of(state, "local").locked() as held:
        first = len(held.entries)
        held.append([("run", f"{name}{first + n}", DIGEST) for n in range(count)], signer)


def test_what_was_mirrored_comes_back_byte_for_byte(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, again = MemoryBucket(), tmp_path / "again"
    keep(bucket, state)
    made = back(again, signer, bucket)
    assert (made.is_whole, made.passed_over) == (True, ())
    assert files(again) == files(state)
    assert audit(again, "local", [signer.public_key]).status == "VALID"
    assert back(again, signer, bucket).written == ()


def test_an_append_costs_four_requests_and_none_put_twice(state: Path, signer: LocalSigner) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    grow(state, signer, 1)
    bucket.requests = 0
    put: list[str] = []
    mirror_to(bucket, "a", state, "local", put.append)
    prefix = mirror.prefix_of(head_of(state).origin)
    size = head_of(state).size
    edge = [tiles.tile_path(None, 0, size), tiles.tile_path(0, 0, size)]
    assert put == [prefix + path for path in (*edge, CHECKPOINT)]
    assert bucket.requests == 4
    assert keep(bucket, state) == []
    keys = [key for key, _ in bucket.content if not key.endswith(CHECKPOINT)]
    assert len(keys) == len(set(keys))


def test_a_new_cosignature_is_a_new_version_of_the_checkpoint_alone(
    state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    with log.log_of(state, "local").locked() as held:
        assert held.checkpoint is not None
        moment = datetime.now(UTC)
        witness = LocalSigner(Ed25519PrivateKey.generate())
        held.cosigned([note.cosign(held.checkpoint, "witness.example/a", witness, moment)])
    assert [key.rpartition("/")[2] for key in keep(bucket, state)] == [CHECKPOINT]


def test_a_key_that_was_rotated_and_a_schedule_are_mirrored_with_the_entries(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    newer = LocalSigner(Ed25519PrivateKey.generate())
    EvidenceStore(state, newer).record_schedule(schedule("another"))
    put = keep(bucket, state)
    assert sum("/schedules/" in key for key in put) == 1
    assert sum("/keys/" in key for key in put) == 1
    keys = [newer.public_key, signer.public_key]
    made = restore({"a": bucket}, tmp_path / "again", "local", keys)
    assert made.is_whole
    assert files(tmp_path / "again") == files(state)


@pytest.mark.parametrize("size", [255, 256, 257, 511, 513, 65_600])
def test_logs_of_every_shape_come_back(tmp_path: Path, signer: LocalSigner, size: int) -> None:
    state, bucket = tmp_path / "state", MemoryBucket()
    for count in (200, size - 200):
        grow(state, signer, count)
        keep(bucket, state)
    made = back(tmp_path / "again", signer, bucket)
    assert made.entries == size
    journal = log.log_of(tmp_path / "again", "local")
    entries, checkpoint = log.verify(journal.read, [signer.public_key])
    assert (len(entries), checkpoint) == (size, head_of(state))


def test_a_reader_finds_a_whole_log_wherever_the_writer_was_killed(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    """Cut before each put: what is there restores as far as the last checkpoint, never less."""
    before = MemoryBucket()
    keep(before, state)
    size = head_of(state).size
    drill(state, SECOND, signer)
    grow(state, signer, 250)  # across a full tile
    calm = MemoryBucket(list(before.content), puts=0)
    keep(calm, state)
    assert calm.puts > 5
    for number in range(calm.puts):
        bucket = MemoryBucket(list(before.content), puts=0, dies_at=number)
        with pytest.raises(Died):
            keep(bucket, state)
        again = tmp_path / f"cut-{number}"
        assert back(again, signer, bucket).entries == size
        assert audit(again, "local", [signer.public_key]).status == "VALID"
        bucket.dies_at = None
        keep(bucket, state)
        assert sorted(bucket.content) == sorted(calm.content), "put twice, or not at all"
        assert back(again, signer, bucket).entries == head_of(state).size


def test_a_restoration_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    calm = len(back(tmp_path / "calm", signer, bucket).written)
    for number in range(calm):
        again = tmp_path / f"cut-{number}"
        done = iter(range(number))

        def die(path: str, done: object = done) -> None:
            if next(done, None) is None:  # type: ignore[call-overload]
                raise Died

        with pytest.raises(Died):
            restore({"a": bucket}, again, "local", [signer.public_key], written=die)
        assert back(again, signer, bucket).is_whole
        assert files(again) == files(state), f"differs after a kill behind file {number}"


def put_on_top(bucket: MemoryBucket, ends: str, change: Callable[[bytes], bytes]) -> str:
    """What an insider with the store's keys can do: a newer version of what is locked."""
    key, content = next((key, old) for key, old in reversed(bucket.content) if key.endswith(ends))
    bucket.put(key, change(content))
    return key


@pytest.mark.parametrize(
    "ends",
    ["tile/entries/000.p/4", "tile/0/000.p/4", CHECKPOINT, ".dsse.json", ".pub", "0001.zip"],
)
@pytest.mark.parametrize(
    "change", [lambda old: b"", lambda old: old[:-1] + bytes([old[-1] ^ 1])], ids=["empty", "bit"]
)
def test_a_version_that_does_not_hash_right_is_passed_over_and_named(
    tmp_path: Path,
    state: Path,
    signer: LocalSigner,
    ends: str,
    change: Callable[[bytes], bytes],
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    key = put_on_top(bucket, ends, change)
    made = back(tmp_path / "again", signer, bucket)
    assert made.is_whole
    assert files(tmp_path / "again") == files(state)
    assert [one.copy.key for one in made.passed_over] == [key]


def test_a_full_tile_is_told_from_its_forgery_by_the_tile_above(
    tmp_path: Path, signer: LocalSigner
) -> None:
    state, bucket = tmp_path / "state", MemoryBucket()
    grow(state, signer, 600)
    keep(bucket, state)
    forged = {
        put_on_top(bucket, path, lambda old: old[32:] + old[:32])
        for path in ("tile/0/001", "tile/1/000.p/2", "tile/0/002.p/88")
    }
    forged.add(put_on_top(bucket, "tile/entries/000", lambda old: old.replace(b"r1", b"r9", 1)))
    made = back(tmp_path / "again", signer, bucket)
    assert (made.entries, made.lost_entries) == (600, 0)
    assert {one.copy.key for one in made.passed_over} == forged


def test_an_older_checkpoint_on_top_does_not_make_the_log_shorter(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    old = log.log_of(state, "local").read(CHECKPOINT) or b""
    drill(state, SECOND, signer)
    keep(bucket, state)
    put_on_top(bucket, CHECKPOINT, lambda new: old)
    assert back(tmp_path / "again", signer, bucket).entries == head_of(state).size
    assert files(tmp_path / "again") == files(state)
    assert [key.rpartition("/")[2] for key in keep(bucket, state)] == [CHECKPOINT]


def test_a_log_of_which_a_tile_is_lost_comes_back_shorter_and_says_so(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    size = head_of(state).size
    grow(state, signer, 2)
    keep(bucket, state)
    bucket.content = [one for one in bucket.content if f"entries/000.p/{size + 2}" not in one[0]]
    made = back(tmp_path / "again", signer, bucket)
    assert (made.entries, made.lost_entries, made.is_whole) == (size, 2, False)
    assert any("is there in no copy" in one.why for one in made.passed_over)


def test_what_one_site_lacks_comes_from_the_other(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    early, late = MemoryBucket(), MemoryBucket()
    keep(early, state)
    drill(state, SECOND, signer)
    keep(late, state)
    late.content = [one for one in late.content if one[0] != f"{FIRST.run_id}.zip"]
    made = back(tmp_path / "again", signer, early, late)
    assert made.is_whole
    assert files(tmp_path / "again") == files(state)
    alone = back(tmp_path / "alone", signer, late)
    assert alone.missing == (f"runs/{FIRST.run_id}",)


def test_a_site_that_missed_it_all_is_caught_up_with_the_bundles(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    drill(state, SECOND, signer)
    put: list[str] = []
    mirror_to(bucket, "a", state, "local", put.append, whole=True)
    assert f"{SECOND.run_id}.zip" in put
    bucket.content = [one for one in bucket.content if not one[0].endswith("tile/entries/000.p/7")]
    again: list[str] = []
    mirror_to(bucket, "a", state, "local", again.append)
    assert again == []  # the checkpoint is believed
    mirror_to(bucket, "a", state, "local", again.append, whole=True)
    assert [key.partition("tile/")[2] for key in again] == ["entries/000.p/7"]
    assert back(tmp_path / "again", signer, bucket).is_whole


def test_a_bucket_that_has_more_of_the_log_is_not_written_to(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, copy = MemoryBucket(), tmp_path / "copy"
    shutil.copytree(state, copy)
    grow(state, signer, 2)
    keep(bucket, state)
    content = list(bucket.content)
    with pytest.raises(Refused, match="its tail was cut"):
        mirror_to(bucket, "a", copy, "local")
    grow(copy, signer, 3, "other")
    with pytest.raises(Refused, match="not those of before"):
        mirror_to(bucket, "a", copy, "local")
    assert bucket.content == content


def test_a_checkpoint_of_a_stranger_keeps_nobody_from_mirroring(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, stranger = MemoryBucket(), LocalSigner(Ed25519PrivateKey.generate())
    keep(bucket, state)
    put_on_top(
        bucket,
        CHECKPOINT,
        lambda old: note.sign(replace(note.parse(old), size=999), stranger).to_bytes(),
    )
    put_on_top(bucket, ".pub", lambda old: stranger.public_key_pem().encode())
    grow(state, signer, 1)
    assert keep(bucket, state)
    made = back(tmp_path / "again", signer, bucket)
    assert made.entries == head_of(state).size
    assert any("no trusted key" in one.why for one in made.passed_over) is False  # not asked


def test_another_or_a_longer_log_is_never_replaced(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    grow(state, signer, 1)
    other = tmp_path / "other"
    grow(other, signer, 1)
    headless = tmp_path / "headless"
    grow(headless, signer, 9)
    (headless / "evidence/log/local/checkpoint").unlink()
    for there, why in ((state, "its tail was cut"), (other, "is the log"), (headless, "no checkp")):
        before = files(there)
        with pytest.raises(Refused, match=why):
            back(there, signer, bucket)
        assert files(there) == before


def test_a_damaged_log_is_mended_in_its_place(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, good = MemoryBucket(), files(state)
    keep(bucket, state)
    tile = state / "evidence/log/local/tile/entries/000.p/4"
    tile.write_bytes(tile.read_bytes().replace(b"plan", b"part"))
    with pytest.raises(InfrastructureError, match="anlan evidence restore local"):
        log.log_of(state, "local").entries()
    assert back(state, signer, bucket).written == ("evidence/log/local/tile/entries/000.p/4",)
    assert files(state) == good


def test_a_damaged_log_is_not_mirrored(state: Path, signer: LocalSigner) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    grow(state, signer, 1)
    content, edge = list(bucket.content), state / "evidence/log/local/tile/0/000.p/5"
    edge.write_bytes(edge.read_bytes()[:-1])
    with pytest.raises(InfrastructureError, match="does not hold 5 hashes"):
        mirror_to(bucket, "a", state, "local")
    edge.unlink()
    with pytest.raises(InfrastructureError, match="is missing"):
        mirror_to(bucket, "a", state, "local")
    assert bucket.content == content


def test_a_run_that_is_there_is_left_as_it_is(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket = MemoryBucket()
    keep(bucket, state)
    changed = state / "runs" / FIRST.run_id / "run.json"
    changed.write_text("changed by somebody")
    made = back(state, signer, bucket)
    assert (made.written, changed.read_text()) == ((), "changed by somebody")


def test_a_run_without_a_result_is_named_as_missing(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    """Its plan was logged and mirrored before anything was touched: that it began stays known."""
    bucket = MemoryBucket()
    write_plan(state / "runs" / SECOND.run_id, SECOND)
    EvidenceStore(state, signer, Clock(SECOND.started_at)).record_plan(
        state / "runs" / SECOND.run_id
    )
    keep(bucket, state)
    made = back(tmp_path / "again", signer, bucket)
    assert made.missing == (f"runs/{SECOND.run_id}",)
    found = audit(tmp_path / "again", "local", [signer.public_key])
    assert [one.run_id for one in found.unfinished] == [SECOND.run_id]


def test_of_several_logs_one_must_be_named(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, other = MemoryBucket(), tmp_path / "other"
    grow(other, signer, 5)
    for there in (state, other):
        keep(bucket, there)
    origins = {head_of(there).origin: head_of(there).size for there in (state, other)}
    found = list_logs({"a": bucket}, "local", [signer.public_key])
    assert {one.origin: one.size for one in found} == origins
    last = {one.origin: one.last for one in found}
    assert last[head_of(other).origin] == log.log_of(other, "local").entries()[-1].time
    with pytest.raises(InputError, match="there are 2 logs"):
        back(tmp_path / "again", signer, bucket)
    log_id = head_of(state).origin.rpartition("/")[2]
    assert back(tmp_path / "again", signer, bucket, log_id=log_id).is_whole
    with pytest.raises(InputError, match="no log 0000"):
        back(tmp_path / "again", signer, bucket, log_id="0000")


def test_a_log_that_no_trusted_key_signed_is_listed_and_not_restored(
    tmp_path: Path, state: Path
) -> None:
    bucket, stranger = MemoryBucket(), LocalSigner(Ed25519PrivateKey.generate())
    keep(bucket, state)
    assert [one.size for one in list_logs({"a": bucket}, "local", [stranger.public_key])] == [None]
    with pytest.raises(Refused, match="no trusted key"):
        back(tmp_path / "again", stranger, bucket)
    assert not (tmp_path / "again").exists()


def test_a_dry_run_verifies_and_writes_nothing(
    tmp_path: Path, state: Path, signer: LocalSigner
) -> None:
    bucket, again = MemoryBucket(), tmp_path / "again"
    keep(bucket, state)
    named = {"a": bucket}
    dry = restore(named, again, "local", [signer.public_key], dry_run=True)
    assert not again.exists()
    assert dry == restore(named, again, "local", [signer.public_key])
    with pytest.raises(InputError, match="there is no log of other"):
        restore(named, again, "other", [signer.public_key])
    assert engine.copies_of(named, "other").there.keys() == {f"{FIRST.run_id}.zip"}
