"""The object store's driver against a real S3 server with Object Lock."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

LOCK_SECONDS = 20
LOCK_DAYS = LOCK_SECONDS / 86_400


@pytest.fixture(scope="module", autouse=True)
def _gone_at_the_end(environment: Environment, secrets: Secrets) -> Iterator[None]:
    """A lock of seconds is what a policy finds: nothing stays."""
    yield
    deadline = time.monotonic() + 2 * LOCK_SECONDS
    for site in environment.sites.values():
        store = ObjectStore(environment, site, secrets.kv(site.object_store.secret))
        while store.remove_all(store.bucket("evidence"), "test/"):
            assert time.monotonic() < deadline, "objects stay locked"
            time.sleep(1)


@pytest.fixture(params=["a", "b"])
def store(
    environment: Environment, secrets: Secrets, request: pytest.FixtureRequest
) -> ObjectStore:
    site = environment.sites[request.param]
    return ObjectStore(environment, site, secrets.kv(site.object_store.secret))


@pytest.mark.parametrize("purpose", ["backup", "evidence"])
def test_every_bucket_locks_by_default(
    environment: Environment, store: ObjectStore, purpose: str
) -> None:
    settings = store.lock_settings(store.bucket(purpose))
    assert settings.enabled
    assert settings.mode == "COMPLIANCE"
    assert settings.days == environment.retention.object_lock_days


def test_a_locked_version_cannot_be_deleted_and_is_still_there(store: ObjectStore) -> None:
    bucket = store.bucket("evidence")
    version = store.put_locked(bucket, "test/locked", b"what happened", days=LOCK_DAYS)
    mode, until = store.retained_until(bucket, "test/locked", version)
    assert mode == "COMPLIANCE"
    assert until > datetime.now(UTC)
    assert store.try_delete_locked(bucket, "test/locked", version).refused
    assert store.get(bucket, "test/locked", version) == b"what happened"
    assert version in {found.version for found in store.versions(bucket, "test/")}


@pytest.mark.parametrize("size_bytes", [100, 400_000, 4_000_000])
def test_what_is_there_already_is_not_stored_again_however_large(
    store: ObjectStore, size_bytes: int
) -> None:
    """The store refuses it before all of it was sent, and closes the connection."""
    bucket, key = store.bucket("evidence"), f"test/{uuid.uuid4()}"
    content, other = os.urandom(size_bytes), os.urandom(size_bytes)
    put = [content, *[content] * 5, other, other, content]
    stored = [store.put_locked_once(bucket, key, one, days=LOCK_DAYS) for one in put]
    assert stored == [True, *[False] * 5, True, False, True]
    assert len(store.versions(bucket, key)) == 3


def test_wrong_keys_are_an_error_and_no_refusal(
    environment: Environment, secrets: Secrets, store: ObjectStore
) -> None:
    """A store that refuses everything would otherwise pass for one that locks."""
    bucket = store.bucket("evidence")
    version = store.put_locked(bucket, "test/keys", b"x", days=LOCK_DAYS)
    site = environment.sites["a"]
    stranger = ObjectStore(environment, site, {"access_key": "nobody", "secret_key": "wrong-keys"})
    with pytest.raises(InfrastructureError):
        stranger.try_delete_locked(bucket, "test/keys", version)


def test_a_version_goes_for_good_when_its_lock_is_over_and_not_before(store: ObjectStore) -> None:
    bucket, seconds = store.bucket("evidence"), 3
    for content, days in ((b"short", seconds / 86_400), (b"long", LOCK_DAYS)):
        store.put_locked(bucket, "test/retention", content, days=days)
    there = {one.size_bytes: one for one in store.versions(bucket, "test/retention")}
    short, long = there[len(b"short")], there[len(b"long")]
    assert not store.remove_version(bucket, short)
    time.sleep(seconds + 1)
    assert store.remove_version(bucket, short)
    assert not store.remove_version(bucket, long)
    left = {one.version for one in store.versions(bucket, "test/retention")}
    assert (short.version in left, long.version in left) == (False, True)
