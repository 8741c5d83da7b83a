"""Mutations of the backups: the tool's file, and the objects of the archive."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from orchestrator.collect.backup_repository import repository_of
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.objectstore_attack import Attacker
from orchestrator.drivers.wal_names import archived_wal
from tests.contract.mutations.store import administrator
from tests.contract.mutations.world import Mutation, World, execute


def configured(pattern: str, new: str) -> Callable[[World], AbstractContextManager[None]]:
    """A change: other text in the standby's file; the primary archives as before."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = world.standby.site.backup.config_file
        before = file.read_text()
        changed, times = re.subn(pattern, new, before, flags=re.MULTILINE)
        assert times, pattern
        file.write_text(changed)
        try:
            yield
        finally:
            file.write_text(before)

    return change


@contextmanager
def hidden_segment(world: World) -> Iterator[None]:
    """A segment between two others is under a delete marker."""
    site = world.primary.site
    bucket, number = site.object_store.buckets["backup"], repository_of(site)[0]
    store = ObjectStore(world.environment, site, world.secrets.kv(site.object_store.secret))
    before = len(_archived(store, bucket))
    for _ in range(3):
        execute(world.primary, "SELECT pg_logical_emit_message(true, 'test', 'a segment')")
        world.primary.switch_wal()
    deadline = time.monotonic() + 60
    while len(there := _archived(store, bucket)) < before + 3:
        assert time.monotonic() < deadline, there
        time.sleep(0.5)
    key = there[sorted(there)[-2]]
    Attacker(world.environment, site, site, number, world.token).hide(bucket, key)
    try:
        yield
    finally:
        for hidden, marker in store.delete_markers(bucket, key):
            administrator(world).delete_object(Bucket=bucket, Key=hidden, VersionId=marker)


def _archived(store: ObjectStore, bucket: str) -> dict[str, str]:
    """Segment → key."""
    keys = [one.key for one in store.versions(bucket, "erp/archive/") if one.is_latest]
    return {name: key for key in keys for name in archived_wal([key]).segments}


_FILE = "{standby}/pgbackrest"
MUTATIONS = [
    Mutation(
        "backup-retention",
        _FILE,
        "1 full backups are kept; 2 are required",
        configured(r"^(repo1-retention-full)=.*", r"\1=1"),
    ),
    Mutation(
        "backup-cipher-configured",
        _FILE,
        "a repository is configured with the cipher none",
        configured(r"^(repo2-cipher-type)=.*", r"\1=none"),
    ),
    Mutation("backup-two-places", _FILE, "it backs up to 127.", configured(r"^repo2-.*\n", "")),
    Mutation(
        "backup-transport",
        _FILE,
        "a repository's certificate is not verified",
        configured(r"^(repo1-storage-verify-tls)=y", r"\1=n"),
    ),
    Mutation(
        "backup-log-gapless", "{primary}/backup_repository", "missing: 00000000", hidden_segment
    ),
]
