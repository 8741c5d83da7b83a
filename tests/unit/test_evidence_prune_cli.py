"""`anlan evidence prune, hold, release` and what `list` and `log verify` say of removed runs."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import Clock, Sample, record
from test_evidence_cli import Done, anlan

from orchestrator.cli import evidence_prune, signing
from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.engine.site_bundles import SiteBundles
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.model.errors import InfrastructureError
from stacks.components.config import StackConfig
from stacks.components.descriptor import describe
from stacks.components.layout import Layout
from stacks.places import service_user

BEGAN = datetime(2026, 1, 10, 3, 15, tzinfo=UTC)
OLD = Sample(run_id="failover-20260110t031500-0001", started_at=BEGAN, rate=2)
NEWER = Sample(run_id="failover-20260111t031500-0002", started_at=BEGAN + timedelta(days=1), rate=2)
DAYS = 31


class Shelf:
    """A bucket in memory, in which no version is locked any more."""

    def __init__(self, *runs: str) -> None:
        self.there = [ObjectVersion(f"{run}.zip", run, 1, BEGAN, True) for run in runs]

    def versions(self) -> list[ObjectVersion]:
        return list(self.there)

    def locked_until(self, one: ObjectVersion) -> datetime:
        return one.modified

    def remove(self, one: ObjectVersion) -> bool:
        self.there.remove(one)
        return True


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The bucket of both sites, which answer."""
    shelf = Shelf(OLD.run_id, NEWER.run_id)
    sites = {"a": lambda: shelf, "b": lambda: shelf}
    monkeypatch.setattr(evidence_prune, "_bundles", lambda _: SiteBundles(sites))
    return shelf


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that nobody has started, its descriptor, and two runs that passed."""
    signer = LocalSigner(Ed25519PrivateKey.generate())
    root = tmp_path / "env" / "local"
    root.mkdir(parents=True)
    config = StackConfig("local", root, None, ports_base=1024, evidence_days=DAYS)
    layout = Layout(config, service_user(), tmp_path / "cache", tmp_path / "venv")
    descriptor = describe(layout, hashlib.sha256(b"").hexdigest())
    (root / "environment.json").write_text(json.dumps(descriptor))
    for sample in (OLD, NEWER):
        run_dir = record(tmp_path, sample, signer)
        bundle = tmp_path / "evidence/bundles" / f"{sample.run_id}.zip"
        EvidenceStore(tmp_path, signer).export(run_dir, bundle)
    (tmp_path / "evidence.pub").write_text(signer.public_key_pem())
    monkeypatch.setattr(signing, "signing_store", lambda _: EvidenceStore(tmp_path, signer))
    return tmp_path


def pruned(state: Path, *arguments: str) -> Done:
    return anlan("evidence", "prune", "local", *arguments, state=state)


def there(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "runs").glob("[!.]*"))


def test_sites_that_do_not_answer_keep_every_run_and_the_command_ends_with_5(state: Path) -> None:
    done = pruned(state)
    assert done.returncode == 5, done.stderr
    assert f"kept     {OLD.run_id}: site a could not be asked:" in done.stdout
    assert there(state) == [OLD.run_id, NEWER.run_id]


@pytest.mark.usefixtures("shelf")
def test_a_dry_run_says_what_would_go_and_why_the_rest_stays(state: Path) -> None:
    done = pruned(state, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["would_remove"], said["removed"]) == ([OLD.run_id], [])
    assert said["evidence_days"] == DAYS
    assert said["kept"] == [
        {
            "run_id": NEWER.run_id,
            "kept_because": [
                {"code": "required", "message": "it is the last that passed of failover"}
            ],
        }
    ]
    assert there(state) == [OLD.run_id, NEWER.run_id]


def test_a_removed_run_is_listed_as_such_and_counted_by_an_audit(state: Path, shelf: Shelf) -> None:
    done = pruned(state)
    assert done.returncode == 0, done.stderr
    assert f"removed  {OLD.run_id}: pass, tombstone is entry 6" in done.stdout
    assert there(state) == [NEWER.run_id]
    assert len(shelf.there) == 2
    rows = json.loads(anlan("evidence", "list", "--json", state=state).stdout)
    (row,) = [row for row in rows if row["run_id"] == OLD.run_id]
    assert (row["state"], row["verdict"], row["log"]["tombstone"]) == ("removed", "pass", 6)
    listed = anlan("evidence", "list", state=state).stdout
    assert f"removed {datetime.now(UTC):%Y-%m-%d}" in listed
    done = anlan("evidence", "log", "verify", "--trust", state / "evidence.pub", state=state)
    assert (done.returncode, "VALID  local: 7 entries of 2 runs" in done.stdout) == (0, True)
    assert "removed by retention, with a tombstone: 1 runs of 31 days or more" in done.stdout
    again = pruned(state)
    assert "runs removed: 0, kept: 1" in again.stdout


def test_sites_removes_the_bundles_of_removed_runs_also_of_those_removed_before(
    state: Path, shelf: Shelf
) -> None:
    pruned(state)
    done = pruned(state, "--sites", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sites"]["a"] == {"removed": 1, "locked": 0, "unknown": ""}
    assert [one.version for one in shelf.there] == [NEWER.run_id]


@pytest.mark.usefixtures("shelf")
def test_a_held_run_stays_until_it_is_released(state: Path) -> None:
    hold = ("evidence", "hold", OLD.run_id, "--why", "matter 4711")
    assert anlan(*hold, state=state).stdout == f"{OLD.run_id}: held\n"
    assert anlan(*hold, state=state).stdout == f"{OLD.run_id}: held already\n"
    done = pruned(state)
    assert "legal hold of" in done.stdout
    assert "matter 4711" in done.stdout
    release = ("evidence", "release", OLD.run_id, "--why", "closed")
    assert anlan(*release, state=state).stdout == f"{OLD.run_id}: released\n"
    assert anlan(*release, state=state).stdout == f"{OLD.run_id}: not held\n"
    assert "runs removed: 1," in pruned(state).stdout
    assert anlan(*hold, state=state).returncode == 2


@pytest.mark.usefixtures("shelf")
def test_when_nothing_can_be_signed_nothing_is_removed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(LocalSigner):
        def public_key_pem(self) -> str:
            raise InfrastructureError("the secret manager is sealed", "unseal it")

    down = EvidenceStore(state, Down(Ed25519PrivateKey.generate()), Clock(BEGAN))
    monkeypatch.setattr(signing, "signing_store", lambda _: down)
    done = pruned(state)
    assert (done.returncode, "sealed" in done.stderr) == (4, True)
    assert there(state) == [OLD.run_id, NEWER.run_id]
    held = anlan("evidence", "hold", OLD.run_id, "--why", "matter 4711", state=state)
    assert (held.returncode, "sealed" in held.stderr) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "nowhere"], "no environment"),
        (["prune", "local", "--before", "soon"], "is no time"),
        (["hold", "failover-2", "--why", "x"], "is ambiguous"),
        (["hold", "nothing", "--why", "x"], "does not exist"),
    ],
)
def test_unusable_input_ends_with_2(state: Path, arguments: list[str], said: str) -> None:
    done = anlan("evidence", *arguments, state=state)
    assert (done.returncode, said in done.stderr) == (2, True)
