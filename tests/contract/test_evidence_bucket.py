"""The mirrored log against a real S3 server with Object Lock (a versitygw of its own)."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.drivers.evidence_bucket import EvidenceBucket
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.engine.mirror import mirror_to
from orchestrator.engine.restore import Restored, list_logs, restore
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.audit import audit
from orchestrator.evidence.tlog import log
from orchestrator.model.environment import Environment, ObjectStoreSettings, Site
from orchestrator.model.errors import InfrastructureError
from tests.unit.run_samples import Sample, record

KEYS = {"access_key": "evidence", "secret_key": "of-the-tests"}
SIGNER = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
DAYS = 0.01


@dataclass
class Server:
    """A store's process and where it listens."""

    process: subprocess.Popen[bytes]
    settings: ObjectStoreSettings

    def store(self, patience_seconds: float | None = None) -> ObjectStore:
        """Its driver, as an environment would make it."""
        environment = SimpleNamespace(tls=SimpleNamespace(ca_file="not asked: no TLS"))
        return ObjectStore(
            cast(Environment, environment),
            cast(Site, SimpleNamespace(object_store=self.settings)),
            KEYS,
            patience_seconds=patience_seconds,
        )

    def bucket(self, patience_seconds: float | None = None) -> EvidenceBucket:
        return EvidenceBucket(self.store(patience_seconds), DAYS)

    def client(self) -> Any:
        """What an insider with the store's keys has."""
        return boto3.client(
            "s3",
            endpoint_url=self.settings.url,
            region_name="us-east-1",
            aws_access_key_id=KEYS["access_key"],
            aws_secret_access_key=KEYS["secret_key"],
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A store with a locked bucket, started as the role `objectstore` does, without TLS."""
    binary = shutil.which("versitygw")
    assert binary, "the toolchain is not on PATH: `make setup`"
    port = _free_port()
    folders = {name: tmp_path / "store" / name for name in ("users", "versions", "buckets")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    process = subprocess.Popen(
        [
            *(binary, f"--port=127.0.0.1:{port}", f"--iam-dir={folders['users']}"),
            *("posix", f"--versioning-dir={folders['versions']}", str(folders["buckets"])),
        ],
        env={"ROOT_ACCESS_KEY": KEYS["access_key"], "ROOT_SECRET_KEY": KEYS["secret_key"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    settings = ObjectStoreSettings("s3", url, "", "us-east-1", "", {"evidence": "evidence"})
    made = Server(process, settings)
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline, "the store did not start"
            time.sleep(0.05)
        made.client().create_bucket(Bucket="evidence", ObjectLockEnabledForBucket=True)
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    drill(state, 1)
    return state


def drill(state: Path, number: int) -> None:
    began = datetime(2026, 11, 25, number, tzinfo=UTC)
    run_dir = record(state, Sample("backup", f"backup-{number:04d}", started_at=began), SIGNER)
    EvidenceStore(state, SIGNER).export(run_dir, state / f"evidence/bundles/{run_dir.name}.zip")


def keep(bucket: EvidenceBucket, state: Path) -> list[str]:
    for path in sorted((state / "evidence/bundles").glob("*.zip")):
        bucket.put_once(path.name, path.read_bytes())
    put: list[str] = []
    mirror_to(bucket, "a", state, "local", put.append)
    return put


def back(server: Server, state: Path) -> Restored:
    return restore({"a": server.bucket()}, state, "local", [SIGNER.public_key])


def files(state: Path) -> dict[str, bytes]:
    return {
        path.relative_to(state).as_posix(): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_what_a_store_was_given_comes_back_and_every_version_is_locked(
    server: Server, state: Path, tmp_path: Path
) -> None:
    assert len(keep(server.bucket(), state)) == 4
    assert keep(server.bucket(), state) == []
    drill(state, 2)
    keep(server.bucket(), state)
    store = server.store()
    versions = store.versions("evidence")
    assert len(versions) == 2 + 1 + 2 + 2 + 2  # bundles, key, tiles twice, checkpoints
    for one in versions:
        mode, until = store.retained_until("evidence", one.key, one.version)
        assert mode == "COMPLIANCE"
        assert until > datetime.now(UTC)
        assert store.try_delete_locked("evidence", one.key, one.version).refused
    made = back(server, tmp_path / "again")
    assert (made.is_whole, made.passed_over) == (True, ())
    assert files(tmp_path / "again") == files(state)
    (found,) = list_logs({"a": server.bucket()}, "local", [SIGNER.public_key])
    entries = log.log_of(state, "local").entries()
    assert (found.size, found.last) == (len(entries), entries[-1].time)


def test_whoever_has_the_stores_keys_can_hide_it_and_not_change_it(
    server: Server, state: Path, tmp_path: Path
) -> None:
    """Every object gets a forgery on top, and then a delete marker: a newer version is no lock."""
    keep(server.bucket(), state)
    client, store = server.client(), server.store()
    keys = {one.key for one in store.versions("evidence")}
    (head,) = (key for key in keys if key.endswith("checkpoint"))
    client.put_object(Bucket="evidence", Key=head, Body=b"endless" * 100_000)
    assert [key.rpartition("/")[2] for key in keep(server.bucket(), state)] == ["checkpoint"]
    for key in keys:
        client.put_object(Bucket="evidence", Key=key, Body=b"nothing happened")
        client.delete_object(Bucket="evidence", Key=key)
    assert server.bucket().newest(min(keys)) is None
    made = back(server, tmp_path / "again")
    assert made.is_whole
    assert {one.copy.key for one in made.passed_over} == keys
    assert files(tmp_path / "again") == files(state)
    again = {*keep(server.bucket(), state), "backup-0001.zip"}
    assert again == keys, "what is hidden is put again"
    assert all(server.bucket().newest(key) for key in keys)
    assert audit(tmp_path / "again", "local", [SIGNER.public_key]).status == "VALID"


def _die_behind(server: Server, state: Path, number: int) -> None:
    left = iter(range(number))

    def die(_key: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    mirror_to(server.bucket(), "a", state, "local", die)


@pytest.mark.parametrize("number", range(3))
def test_kill_9_behind_any_put_leaves_a_log_that_restores(
    server: Server, state: Path, tmp_path: Path, number: int
) -> None:
    keep(server.bucket(), state)
    size = len(log.log_of(state, "local").entries())
    drill(state, 2)
    server.bucket().put(
        "backup-0002.zip", (state / "evidence/bundles/backup-0002.zip").read_bytes()
    )
    child = multiprocessing.get_context("fork").Process(
        target=_die_behind, args=(server, state, number)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    grown = len(log.log_of(state, "local").entries())
    assert back(server, tmp_path / "cut").entries == (grown if number == 2 else size)
    assert audit(tmp_path / "cut", "local", [SIGNER.public_key]).problems == ()
    keep(server.bucket(), state)
    assert back(server, tmp_path / "again").is_whole
    assert files(tmp_path / "again") == files(state)
    keys = [one.key for one in server.store().versions("evidence") if "/tile/" in one.key]
    assert len(keys) == len(set(keys)), "a tile was put twice"


def test_a_store_that_does_not_answer_costs_as_long_as_it_may_and_is_caught_up(
    server: Server, state: Path, tmp_path: Path
) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(InfrastructureError, match="did not read"):
            mirror_to(server.bucket(patience_seconds=1), "a", state, "local")
        assert timedelta(seconds=time.monotonic() - began) < timedelta(seconds=5)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    keep(server.bucket(), state)
    assert back(server, tmp_path / "again").is_whole
