"""Every way to leave a run out of a period, or to put one in, is refused and named.

Numbers: the project's list of cases. The thief holds the environment's key: `seal` signs what he
likes. With ANLAN_TAMPER=all every byte of a small bundle is flipped, else every 151st of it.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import period_samples as samples
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgers import ALL, TWINS
from period_samples import (
    ABSENT,
    DECEMBER,
    FAILED,
    MISSED,
    OCTOBER,
    PASSED,
    REMOVED,
    SINCE,
    UNFINISHED,
    UNTIL,
    Made,
)
from run_samples import REDERIVE, Sample

from orchestrator.evidence import (
    Expectation,
    LocalSigner,
    Trust,
    Verification,
    bundle,
    dsse,
    layout,
    statement,
    verify,
)
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period import stored
from orchestrator.evidence.period.bindings import Asked
from orchestrator.evidence.period.layout import plan_path, run_path
from orchestrator.evidence.period.verify import Limits, is_period, verify_period
from orchestrator.evidence.tlog import merkle, note, tiles
from orchestrator.evidence.tlog.entries import Entry, leaf_of
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import canonical, sha256

HEAD = "log/checkpoint"
Files = dict[str, bytes | None]


@dataclass(frozen=True)
class Forger:
    """A period's bundle as files, and what can be made of it in a folder."""

    made: Made
    contents: dict[str, bytes]
    folder: Path

    def check(self, packed: Path, asked: Asked | None = None, **expect: Any) -> Verification:
        """What is said of a bundle, by the standalone verifier too."""
        key = self.made.signer.public_key
        expectation = Expectation(**expect)
        if is_period(packed):
            found = verify_period(
                packed, Trust.of([key]), REDERIVE, expect=expectation, asked=asked, processes=1
            )
        else:  # as the command: what does not even begin like one is no run's either
            found = verify(packed, Trust.of([key]), REDERIVE, expect=expectation)
        if TWINS and asked is None and not expect:
            (self.folder / "evidence.pub").write_text(self.made.signer.public_key_pem())
            arguments = (str(packed), f"--trust={self.folder / 'evidence.pub'}", "--json")
            said = {"bundle": str(packed), **found.to_json()}
            text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
            code = 0 if found.status == "VALID" else 1
            assert TWINS[0].ask(*arguments) == (code, text, "")
        return found

    def codes(self, packed: Path, asked: Asked | None = None, **expect: Any) -> set[str]:
        """The codes of a bundle that must be refused, but for the run that is missing always."""
        found = self.check(packed, asked, **expect)
        assert found.status != "VALID"
        codes = [p.code for p in found.problems if ABSENT not in p.path]
        assert codes, "nothing but what is wrong with the true one"
        return set(codes)

    def pack(self, edits: Files) -> Path:
        """The archive with files replaced (None: left out), nothing signed anew."""
        files = {**self.contents, **edits}
        out = self.folder / "forged.zip"
        with stored.written(out) as archive:
            for path, content in files.items():
                if content is not None:
                    archive.add(path, content)
        return out

    def seal(
        self,
        edits: Files,
        change: Callable[[dict[str, Any]], Any] = lambda manifest: None,
        signer: LocalSigner | None = None,
    ) -> Path:
        """The archive with files replaced and a manifest that is truly signed for them."""
        files = {**self.contents, **edits}
        manifest = json.loads(self.contents[layout.MANIFEST])
        manifest["files"] = [
            {"path": path, "size_bytes": len(content), "sha256": sha256(content)}
            for path, content in sorted(files.items())
            if content is not None and path not in period_layout.OWN
        ]
        change(manifest)
        listed = canonical(manifest)
        envelope = dsse.sign(listed, period_layout.MANIFEST_TYPE, signer or self.made.signer)
        own = {layout.MANIFEST: listed, layout.MANIFEST_ENVELOPE: envelope.to_bytes()}
        return self.pack({**edits, **own})

    def entries(self) -> list[Entry]:
        """The true log."""
        return log_of(self.made.state, "local").entries()

    def relog(self, leaves: Sequence[bytes], signer: LocalSigner | None = None) -> Files:
        """The files of another log with these entries, truly signed."""
        true = {path for path in self.contents if path.startswith("log/")}
        files, root = tiles.grow(0, leaves, lambda path: None)
        origin = note.parse(self.contents[HEAD]).origin
        head = note.sign(note.Checkpoint(origin, len(leaves), root), signer or self.made.signer)
        made: Files = dict.fromkeys(true)
        wanted = set(tiles.paths(len(leaves)))
        made |= {f"log/{path}": content for path, content in files.items() if path in wanted}
        return {**made, HEAD: head.to_bytes()}

    def headed(self, relogged: Files) -> Callable[[dict[str, Any]], None]:
        """What makes a manifest name the head of another log."""
        head = note.parse(relogged[HEAD] or b"")

        def change(manifest: dict[str, Any]) -> None:
            manifest["log_size"], manifest["root"] = head.size, head.root.hex()

        return change


def forger(made: Made, file: Path, folder: Path) -> Forger:
    archive = stored.opened(file)
    contents = {path: archive.read(path, 2**30) for path in archive.members}
    return Forger(made, contents, folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    signer = LocalSigner(Ed25519PrivateKey.generate())
    return samples.make(tmp_path_factory.mktemp("period"), signer)


@pytest.fixture
def forge(made: Made, tmp_path: Path) -> Forger:
    return forger(made, made.export(tmp_path / "period.zip"), tmp_path)


def without(run_id: str) -> Callable[[dict[str, Any]], None]:
    """What takes a run off the manifest's lists."""

    def change(manifest: dict[str, Any]) -> None:
        for key in ("runs", "unfinished"):
            manifest[key] = [one for one in manifest[key] if one != run_id]

    return change


def test_the_true_bundle_lacks_the_run_that_was_never_run_and_nothing_else(forge: Forger) -> None:
    found = forge.check(forge.pack({}))
    assert found.status == "INCOMPLETE"
    assert [(p.code, p.path) for p in found.problems] == [
        ("missing-scheduled-run", run_path(ABSENT))
    ]
    assert forge.seal({}).read_bytes() == forge.pack({}).read_bytes(), "seal makes another"


def test_case_01_a_run_is_exchanged_for_another_true_bundle_of_it(forge: Forger) -> None:
    """Without its report, it is valid by itself; it is not what the manifest was signed for."""
    files = bundle.unpack(forge.contents[run_path(PASSED)])
    for path in (layout.REPORT, *period_layout.OWN):
        files.pop(path)
    other: Files = {run_path(PASSED): bundle.pack(files, forge.made.signer)}
    assert forge.codes(forge.pack(other)) == {"digest-mismatch"}


def test_case_01_the_manifest_differs_from_the_signed_one(forge: Forger) -> None:
    manifest = json.loads(forge.contents[layout.MANIFEST])
    manifest["files"].reverse()
    packed = forge.pack({layout.MANIFEST: canonical(manifest)})
    assert forge.codes(packed) == {"manifest-mismatch"}


@pytest.mark.parametrize("path", [HEAD, run_path(PASSED)])
def test_case_01_a_size_is_signed_that_is_none(forge: Forger, path: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        next(one for one in manifest["files"] if one["path"] == path)["size_bytes"] += 1

    assert forge.codes(forge.seal({}, change)) == {"digest-mismatch"}


def test_case_04_a_failed_run_is_left_out(forge: Forger) -> None:
    found = forge.check(forge.pack({run_path(FAILED): None}))
    assert found.status == "INCOMPLETE"
    named = {(p.code, p.path) for p in found.problems}
    assert ("missing-run", run_path(FAILED)) in named
    assert ("missing-file", run_path(FAILED)) in named


def test_case_04_a_failed_run_is_left_out_and_the_manifest_signed_anew(forge: Forger) -> None:
    packed = forge.seal({run_path(FAILED): None}, without(FAILED))
    assert forge.codes(packed) == {"missing-run"}


def test_case_04_a_failed_run_is_called_unfinished(forge: Forger, made: Made) -> None:
    plan = (made.state / "runs" / FAILED / "statements/plan.dsse.json").read_bytes()

    def change(manifest: dict[str, Any]) -> None:
        without(FAILED)(manifest)
        manifest["unfinished"].insert(0, FAILED)

    packed = forge.seal({run_path(FAILED): None, plan_path(FAILED): plan}, change)
    assert forge.codes(packed) == {"missing-run", "unlogged-run", "extra-file"}


def test_case_04_an_unfinished_run_is_left_out(forge: Forger) -> None:
    packed = forge.seal({plan_path(UNFINISHED): None}, without(UNFINISHED))
    assert forge.codes(packed) == {"missing-run", "missing-file"}


def test_case_04_a_missed_run_is_left_out(forge: Forger) -> None:
    assert forge.codes(forge.seal({run_path(MISSED): None}, without(MISSED))) == {"missing-run"}


def test_case_04_a_failed_run_is_taken_out_of_the_log_with_the_stolen_key(forge: Forger) -> None:
    kept = [one.leaf for one in forge.entries() if one.run_id != FAILED]
    relogged = forge.relog(kept)

    def change(manifest: dict[str, Any]) -> None:
        without(FAILED)(manifest)
        forge.headed(relogged)(manifest)

    packed = forge.seal({**relogged, run_path(FAILED): None}, change)
    found = forge.check(packed)
    assert "log-forked" in {problem.code for problem in found.problems}
    assert "missing-scheduled-run" in {p.code for p in found.problems if FAILED in p.path}
    known = note.parse(forge.contents[HEAD])
    assert forge.codes(packed, Asked(known=known)) == {"log-rollback"}


def test_case_04_the_schedule_is_left_out_so_that_nothing_was_due(forge: Forger) -> None:
    (path,) = (path for path in forge.contents if path.startswith("schedules/"))
    found = forge.check(forge.seal({path: None}))
    assert (found.status, [p.code for p in found.problems]) == ("INCOMPLETE", ["missing-file"])


def test_case_04_a_schedule_is_dated_back_so_that_nothing_was_due(tmp_path: Path) -> None:
    """With the key, and truly logged: what the earlier one called for until then stays due."""
    made = samples.make(tmp_path / "state", LocalSigner(Ed25519PrivateKey.generate()))
    entry = {"id": "weekly", "drill": "backup", "cron": "0 3 1 1 *"}
    rarely = {**samples.SCHEDULE, "entries": [entry]}
    record = {**samples.RECORD, "schedule": rarely, "applied_at": "2026-11-05T00:00:00.000Z"}
    made.store().record_schedule(record)
    forge = forger(made, made.export(tmp_path / "period.zip"), tmp_path)
    found = forge.check(forge.pack({}))
    assert [one["run_id"] for one in found.summary["missing"]] == [ABSENT]


def test_case_05_the_logs_tail_is_cut(forge: Forger, made: Made) -> None:
    """With every run that knew of it; a checkpoint that was kept shows it."""
    leaves = [one.leaf for one in forge.entries()]
    first = next(one.index for one in forge.entries() if one.run_id == FAILED)
    relogged = forge.relog(leaves[:first])
    gone: Files = {run_path(one): None for one in (FAILED, MISSED)}

    def change(manifest: dict[str, Any]) -> None:
        forge.headed(relogged)(manifest)
        manifest["runs"], manifest["unfinished"] = [PASSED], []

    packed = forge.seal({**relogged, **gone, plan_path(UNFINISHED): None}, change)
    found = forge.check(packed)
    missing = {p.path for p in found.problems if p.code == "missing-scheduled-run"}
    assert {run_path(FAILED), run_path(MISSED)} < missing, "the schedule still tells"
    known = note.parse(forge.contents[HEAD])
    assert forge.codes(packed, Asked(known=known)) == {"log-rollback"}
    other = replace(known, root=b"\1" * 32)
    assert forge.codes(forge.pack({}), Asked(known=other)) == {"log-forked"}


def test_the_true_log_continues_the_checkpoint_that_was_kept(forge: Forger) -> None:
    hashes = [merkle.leaf_hash(one.leaf) for one in forge.entries()]
    head = note.parse(forge.contents[HEAD])
    for size in (1, 5, len(hashes)):
        known = note.Checkpoint(head.origin, size, merkle.root_of(hashes[:size]))
        found = forge.check(forge.pack({}), Asked(known=known))
        assert [p.code for p in found.problems] == ["missing-scheduled-run"]


@pytest.mark.parametrize("at_end", [False, True])
def test_case_06_a_back_dated_run_is_inserted(forge: Forger, at_end: bool) -> None:
    """A passed run for the one that is missing, logged now as if it had been then."""
    entries = forge.entries()
    digest, time = "ab" * 32, "2026-11-24T03:00:00.000Z"
    more = [leaf_of(kind, ABSENT, digest, time) for kind in ("plan", "controls", "run")]
    place = len(entries) if at_end else next(e.index for e in entries if e.run_id == DECEMBER)
    leaves = [one.leaf for one in entries]
    relogged = forge.relog([*leaves[:place], *more, *leaves[place:]])
    content = forge.contents[run_path(PASSED)]

    def change(manifest: dict[str, Any]) -> None:
        forge.headed(relogged)(manifest)
        manifest["runs"].append(ABSENT)

    found = forge.check(forge.seal({**relogged, run_path(ABSENT): content}, change))
    assert found.status == "INVALID"
    codes = {problem.code for problem in found.problems}
    if at_end:
        assert codes == {"log-time"}
    else:
        assert {"log-mismatch", "other-run"} <= codes


def test_case_06_a_run_that_the_log_does_not_have_is_put_in(forge: Forger) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["runs"].append("invented")

    packed = forge.seal({run_path("invented"): forge.contents[run_path(PASSED)]}, change)
    assert forge.codes(packed) == {"unlogged-run"}


def test_case_06_a_run_of_another_period_is_put_in(forge: Forger, made: Made) -> None:
    content = (made.state / "evidence/bundles" / f"{OCTOBER}.zip").read_bytes()

    def change(manifest: dict[str, Any]) -> None:
        manifest["runs"].insert(0, OCTOBER)

    assert forge.codes(forge.seal({run_path(OCTOBER): content}, change)) == {"unlogged-run"}


def test_case_06_a_passed_run_is_put_in_the_place_of_the_failed_one(forge: Forger) -> None:
    packed = forge.seal({run_path(FAILED): forge.contents[run_path(PASSED)]})
    assert {"log-mismatch", "other-run"} <= forge.codes(packed)


def test_case_07_entries_are_reordered(forge: Forger) -> None:
    leaves = [one.leaf for one in forge.entries()]
    leaves[4], leaves[5] = leaves[5], leaves[4]
    relogged = forge.relog(leaves)
    assert "log-time" in forge.codes(forge.seal(relogged, forge.headed(relogged)))
    kept: Files = {path: content for path, content in relogged.items() if "entries" in path}
    assert forge.codes(forge.seal(kept)) == {"log-entry"}


def test_case_07_the_runs_are_listed_in_another_order(forge: Forger) -> None:
    packed = forge.seal({}, lambda manifest: manifest["runs"].reverse())
    assert forge.codes(packed) == {"malformed"}


def test_case_08_entries_are_renumbered(forge: Forger) -> None:
    """One entry more before all: each is another number, no proof of a run fits any more."""
    more = leaf_of("plan", "before", "ab" * 32, "2026-10-01T00:00:00.000Z")
    relogged = forge.relog([more, *(one.leaf for one in forge.entries())])
    found = forge.check(forge.seal(relogged, forge.headed(relogged)))
    forked = {p.path.split("!")[0] for p in found.problems if p.code == "log-forked"}
    assert forked == {run_path(one) for one in (PASSED, FAILED, MISSED)}


def test_case_09_everything_is_signed_with_a_new_key(forge: Forger, tmp_path: Path) -> None:
    forged = samples.make(tmp_path / "forged", LocalSigner(Ed25519PrivateKey.generate()))
    found = forge.check(forged.export(tmp_path / "forged.zip"))
    assert found.status == "UNTRUSTED"
    packed = forge.seal({}, signer=LocalSigner(Ed25519PrivateKey.generate()))
    assert forge.codes(packed) == {"untrusted-signer"}


def test_case_13_the_manifest_of_a_run_is_no_manifest_of_a_period(forge: Forger) -> None:
    payload = forge.contents[layout.MANIFEST]
    envelope = dsse.sign(payload, bundle.MANIFEST_TYPE, forge.made.signer).to_bytes()
    assert forge.codes(forge.pack({layout.MANIFEST_ENVELOPE: envelope})) == {"bad-signature"}


def test_case_15_last_months_bundle_is_shown_as_this_months(forge: Forger, made: Made) -> None:
    """It is a true one: what was asked for shows it."""
    packed = made.export(forge.folder / "old.zip", SINCE - timedelta(days=31), SINCE)
    assert forge.check(packed).status == "VALID"
    assert forge.codes(packed, Asked(SINCE, UNTIL)) == {"other-period"}
    assert forge.codes(packed, not_before=SINCE) == {"too-old"}


def test_case_15_the_borders_of_last_months_bundle_are_moved(forge: Forger, made: Made) -> None:
    packed = made.export(forge.folder / "old.zip", SINCE - timedelta(days=31), SINCE)
    old = forger(made, packed, forge.folder)

    def change(manifest: dict[str, Any]) -> None:
        manifest["since"], manifest["until"] = (
            "2026-11-01T00:00:00.000Z",
            "2026-12-01T00:00:00.000Z",
        )

    assert {"missing-run", "unlogged-run"} <= old.codes(old.seal({}, change))


@pytest.mark.parametrize(
    ("key", "border"),
    [("since", "2026-11-10T02:59:59.501Z"), ("until", "2026-11-10T02:59:59.500Z")],
)
def test_case_15_the_borders_are_moved_so_that_a_failed_run_at_the_edge_falls_out(
    forge: Forger, key: str, border: str
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest[key] = border

    assert "unlogged-run" in forge.codes(forge.seal({}, change))
    cut: Files = {run_path(FAILED): None}

    def fitting(manifest: dict[str, Any]) -> None:
        change(manifest)
        gone = [PASSED] if key == "since" else [MISSED, UNFINISHED]
        for one in (FAILED, *gone):
            without(one)(manifest)
            for path in (run_path(one), plan_path(one)):
                if path in forge.contents:
                    cut[path] = None
        manifest["files"] = [one for one in manifest["files"] if one["path"] not in cut]

    packed = forge.seal(cut, fitting)
    packed = forge.seal(cut, fitting)
    assert "other-period" in forge.codes(packed, Asked(SINCE, UNTIL))


def test_case_16_another_systems_bundle_is_shown(forge: Forger) -> None:
    assert "other-environment" in forge.codes(forge.pack({}), environment="erp-production")


def test_case_16_another_systems_name_is_written_into_it(forge: Forger) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["environment"] = "erp-production"

    assert {"other-environment", "bad-schedule"} <= forge.codes(forge.seal({}, change))


def test_case_16_another_systems_log_is_shown_for_a_time_without_runs(
    forge: Forger, made: Made
) -> None:
    since = SINCE - timedelta(days=90)
    out = made.export(forge.folder / "quiet.zip", since, SINCE - timedelta(days=9))
    quiet = forger(made, out, forge.folder)
    true = note.parse(quiet.contents[HEAD])
    origin = "anlan.dev/log/erp-production/0123456789abcdef"
    other = note.sign(replace(true, origin=origin), made.signer)

    def change(manifest: dict[str, Any]) -> None:
        manifest["origin"] = origin

    assert quiet.check(quiet.pack({})).status == "VALID"
    packed = quiet.seal({HEAD: other.to_bytes()}, change)
    assert quiet.codes(packed) == {"other-environment"}


def test_case_16_another_systems_plan_is_logged_with_the_stolen_key(forge: Forger) -> None:
    signer = forge.made.signer
    data = json.loads(dsse.parse(forge.contents[plan_path(UNFINISHED)]).payload)
    data["predicate"]["plan"]["environment"]["name"] = "erp-production"
    data["predicate"]["plan"]["run_id"] = data["predicate"]["runId"] = "foreign"
    envelope = dsse.sign(canonical(data), statement.PAYLOAD_TYPE, signer)
    entries = forge.entries()
    place = next(one.index for one in entries if one.run_id == DECEMBER)
    time = entries[place - 1].time_text
    more = leaf_of("plan", "foreign", sha256(envelope.payload), time)
    leaves = [one.leaf for one in entries]
    relogged = forge.relog([*leaves[:place], more, *leaves[place:]])

    def change(manifest: dict[str, Any]) -> None:
        forge.headed(relogged)(manifest)
        manifest["unfinished"].append("foreign")

    packed = forge.seal({**relogged, plan_path("foreign"): envelope.to_bytes()}, change)
    assert forge.codes(packed) == {"other-environment"}


def test_case_24_a_run_comes_from_a_fork_of_the_log(forge: Forger, tmp_path: Path) -> None:
    """The same runs, logged in another log with the same key, from an entry on."""
    other = Made(tmp_path / "fork", forge.made.signer)
    shutil.copytree(forge.made.state, other.state)
    shutil.rmtree(other.state / "evidence/log")
    shutil.rmtree(other.state / "runs")
    samples.finished(
        other, Sample(drill="backup", run_id=PASSED, started_at=samples.SLOTS[0].start)
    )
    content = (other.state / "evidence/bundles" / f"{PASSED}.zip").read_bytes()
    assert "log-forked" in forge.codes(forge.seal({run_path(PASSED): content}))


def test_case_25_the_checkpoint_is_rolled_back(forge: Forger) -> None:
    """An old head, truly signed, over tiles that have grown; and with its own tiles."""
    leaves = [one.leaf for one in forge.entries()]
    old = forge.relog(leaves[:5])
    assert {"log-tile", "log-root"} & forge.codes(forge.seal({HEAD: old[HEAD]}))
    found = forge.check(forge.seal(old, forge.headed(old)))
    assert "unlogged-run" in {problem.code for problem in found.problems}
    known = note.parse(forge.contents[HEAD])
    assert "log-rollback" in forge.codes(forge.seal(old, forge.headed(old)), Asked(known=known))


def test_case_25_the_manifest_names_another_head(forge: Forger) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["root"] = "00" * 32

    assert forge.codes(forge.seal({}, change)) == {"log-mismatch"}


def test_an_entry_that_is_logged_twice_is_named(forge: Forger) -> None:
    leaves = [one.leaf for one in forge.entries()]
    relogged = forge.relog([*leaves, leaves[-1]])
    packed = forge.seal(relogged, forge.headed(relogged))
    assert forge.codes(packed) == {"duplicate-log-entry"}


def test_another_plan_for_an_unfinished_run_is_named(forge: Forger, made: Made) -> None:
    plan = (made.state / "runs" / OCTOBER / "statements/plan.dsse.json").read_bytes()
    assert {"log-mismatch", "other-run"} <= forge.codes(forge.seal({plan_path(UNFINISHED): plan}))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "runs/../../x", "C:x", "runs/\x1bx"])
def test_case_32_a_member_name_leads_out_of_the_bundle(forge: Forger, name: str) -> None:
    assert forge.codes(forge.pack({name: b"x"})) == {"unsafe-path"}


def test_case_32_a_member_is_a_link(forge: Forger) -> None:
    packed = forge.pack({})
    with zipfile.ZipFile(packed, "a") as archive:
        info = zipfile.ZipInfo("runs/link", (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/shadow")
    assert forge.codes(packed) == {"unsupported-member"}


@pytest.mark.parametrize("name", ["notes.txt", "runs/notes.txt", "log/tile/0/001", "report.html"])
def test_case_33_a_file_is_added(forge: Forger, name: str) -> None:
    added: Files = {name: b"x"}
    assert "extra-file" in forge.codes(forge.pack(added))
    assert {"extra-file", "unlogged-run"} & forge.codes(forge.seal(added))


def test_case_33_a_member_is_there_twice(forge: Forger) -> None:
    packed = forge.folder / "twice.zip"
    with stored.written(packed) as archive:
        for path, content in forge.contents.items():
            archive.add(path, content)
        archive.add(run_path(FAILED), forge.contents[run_path(PASSED)])
    assert forge.codes(packed) == {"duplicate-member"}
    with stored.written(packed) as archive:
        for path, content in forge.contents.items():
            archive.add(path, content)
        archive.add(run_path(FAILED).upper(), b"x")
    assert forge.codes(packed) == {"duplicate-member"}


def between(content: bytes, place: int) -> bytes:
    """The archive with a byte more there, and every offset behind it put right."""
    return content[:place] + b"\0" + content[place:]


def test_case_33_data_is_hidden_before_between_and_behind_the_members(forge: Forger) -> None:
    content = forge.pack({}).read_bytes()
    archive = stored.opened(forge.folder / "forged.zip")
    second = sorted(member.offset for member in archive.members.values())[1]
    for changed in (b"#!" + content, between(content, second), content + b"\n"):
        packed = forge.folder / "hidden.zip"
        packed.write_bytes(changed)
        assert forge.codes(packed) <= {
            "hidden-data",
            "damaged-archive",
            "unsafe-path",
        }


def test_case_36_a_bomb_is_put_in_the_place_of_a_run(forge: Forger) -> None:
    bomb = bundle.archive({"raw/ledger.jsonl": b"\0" * (300 * 2**20)})
    assert len(bomb) < 2**20
    found = forge.check(forge.seal({run_path(PASSED): bomb}))
    problem = next(one for one in found.problems if one.code == "zip-bomb")
    assert problem.path == f"{run_path(PASSED)}!raw/ledger.jsonl"


def test_case_36_a_file_is_larger_than_the_limits(forge: Forger) -> None:
    trust = Trust.of([forge.made.signer.public_key])
    for limits in (Limits(file_bytes=100), Limits(run=bundle.Limits(archive_bytes=100))):
        found = verify_period(forge.pack({}), trust, REDERIVE, limits=limits, processes=1)
        assert "zip-bomb" in {problem.code for problem in found.problems}


def test_case_38_a_better_verdict_within_a_run_is_found(forge: Forger) -> None:
    files = bundle.unpack(forge.contents[run_path(FAILED)])
    files["runs/run.json"] = files["runs/run.json"].replace(b'"fail"', b'"pass"')
    for path in period_layout.OWN:
        files.pop(path)
    packed = bundle.pack(files, forge.made.signer)
    found = forge.check(forge.seal({run_path(FAILED): packed}))
    assert "verdict-mismatch" in {problem.code for problem in found.problems}
    assert found.summary["verdicts"]["fail"] == 1, "the summary is derived again, not believed"


def test_not_a_byte_of_the_bundle_can_be_changed(tmp_path: Path) -> None:
    """Nor of its headers, times and modes: there is one form of the archive."""
    made = Made(tmp_path / "state", LocalSigner(Ed25519PrivateKey.generate()))
    started_at = datetime(2026, 11, 3, 3, tzinfo=UTC)
    samples.finished(made, Sample(drill="backup", run_id="backup-0001", started_at=started_at))
    file = made.export(tmp_path / "good.zip")
    content = file.read_bytes()
    trust = Trust.of([made.signer.public_key])
    assert verify_period(file, trust, REDERIVE, processes=1).status == "VALID"
    changed_file = tmp_path / "changed.zip"
    for where in range(0, len(content), 1 if ALL else 151):
        changed = bytearray(content)
        changed[where] ^= 1 << where % 8
        changed_file.write_bytes(changed)
        found = verify_period(changed_file, trust, REDERIVE, processes=1)
        assert found.status != "VALID", where
        assert found.problems, where


# Removed runs: a thief who would make a failed one vanish signs a tombstone of it. ---------------


@pytest.fixture
def autumn(tmp_path: Path) -> Made:
    """A state with a run of September that is to be removed."""
    made = Made(tmp_path / "autumn", LocalSigner(Ed25519PrivateKey.generate()))
    samples.finished(made, samples.september())
    return made


def of_september(made: Made, folder: Path) -> Forger:
    packed = made.export(folder / "september.zip", SINCE - timedelta(days=60), SINCE)
    return forger(made, packed, folder)


def found_in(forge: Forger, edits: Files) -> dict[str, str]:
    """Code → path of what is said of a bundle that is truly signed."""
    return {one.code: one.path for one in forge.check(forge.seal(edits)).problems}


def test_a_run_is_removed_before_its_retention_is_over(autumn: Made, tmp_path: Path) -> None:
    samples.bury(autumn, samples.september(), days=4000)
    forge = of_september(autumn, tmp_path)
    (path,) = (one for one in forge.contents if one.startswith("tombstones/"))
    assert found_in(forge, {}) == {"pruned-early": path}


def test_a_run_is_removed_as_if_it_had_ended_long_before_it_began(
    autumn: Made, tmp_path: Path
) -> None:
    def change(said: dict[str, Any]) -> None:
        said["startedAt"] = said["endedAt"] = "2020-01-01T00:00:00.000Z"

    samples.bury(autumn, samples.september(), days=200, change=change)
    assert set(found_in(of_september(autumn, tmp_path), {})) == {"pruned-early"}


def test_a_run_is_removed_under_a_legal_hold(autumn: Made, tmp_path: Path) -> None:
    samples.hold(autumn, REMOVED, held=True, at=SINCE)
    samples.bury(autumn, samples.september())
    forge = of_september(autumn, tmp_path)
    (hold,) = (one for one in forge.contents if one.startswith("statements/"))
    assert set(found_in(forge, {})) == {"pruned-held"}
    assert found_in(forge, {hold: None}) == {"missing-file": hold}
    other: Files = {hold: forge.contents[hold].replace(b'"payload":"', b'"payload":"AA')}
    assert {"bad-signature", "bad-statement"} <= set(found_in(forge, other))


def test_the_hold_of_a_removed_run_is_exchanged_for_its_release(
    autumn: Made, tmp_path: Path
) -> None:
    """The release is a true one, of before."""
    samples.hold(autumn, REMOVED, held=False, at=SINCE)
    (release,) = (autumn.state / "evidence/statements").iterdir()
    samples.hold(autumn, REMOVED, held=True, at=SINCE + timedelta(days=1))
    samples.bury(autumn, samples.september())
    forge = of_september(autumn, tmp_path)
    (hold,) = (one for one in forge.contents if one.startswith("statements/"))
    assert found_in(forge, {hold: release.read_bytes()}) == {"bad-statement": hold}


def test_a_tombstone_is_logged_before_the_run_that_it_is_for(tmp_path: Path) -> None:
    """Whatever comes of that run then, it would be gone."""
    made = Made(tmp_path / "state", LocalSigner(Ed25519PrivateKey.generate()))
    samples.finished(made, replace(samples.september(), run_id="restore-before"))
    planned = datetime(2026, 10, 5, tzinfo=UTC)
    before = planned - timedelta(hours=1)
    samples.bury(made, samples.september(), at=before, statements_of="restore-before")
    samples.finished(made, replace(samples.september(), started_at=planned, lost=4))
    forge = of_september(made, tmp_path)
    assert set(found_in(forge, {})) == {"bad-tombstone"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda said: said.update(runId="another"), "bad-tombstone"),
        (lambda said: said.update(environment="another"), "bad-tombstone"),
        (lambda said: said["statements"].update(run="00" * 32), "bad-tombstone"),
        (lambda said: said["statements"].pop("controls"), "bad-tombstone"),
    ],
)
def test_a_tombstone_is_about_something_else(
    autumn: Made, tmp_path: Path, change: Callable[[dict[str, Any]], Any], code: str
) -> None:
    samples.bury(autumn, samples.september(), change=change)
    assert set(found_in(of_september(autumn, tmp_path), {})) == {code}


def test_a_tombstone_is_left_out_or_signed_by_another(autumn: Made, tmp_path: Path) -> None:
    samples.bury(autumn, samples.september())
    forge = of_september(autumn, tmp_path)
    assert found_in(forge, {}) == {}
    (path,) = (one for one in forge.contents if one.startswith("tombstones/"))
    assert found_in(forge, {path: None}) == {"missing-file": path}
    payload = dsse.parse(forge.contents[path]).payload
    stranger = LocalSigner(Ed25519PrivateKey.generate())
    resigned = dsse.sign(payload, statement.PAYLOAD_TYPE, stranger).to_bytes()
    assert found_in(forge, {path: resigned}) == {"untrusted-signer": path}


def test_a_removed_run_is_called_finished(autumn: Made, tmp_path: Path) -> None:
    """Its bundle was kept, and comes back beside its tombstone."""
    content = (autumn.state / "evidence/bundles" / f"{REMOVED}.zip").read_bytes()
    samples.bury(autumn, samples.september())
    forge = of_september(autumn, tmp_path)

    def change(manifest: dict[str, Any]) -> None:
        manifest["runs"], manifest["removed"] = [REMOVED], []

    packed = forge.seal({run_path(REMOVED): content}, change)
    assert forge.codes(packed) == {"missing-run", "unlogged-run"}
