"""Mutations of the machines: modes, owners, programs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from orchestrator.collect.handshake import endpoint_of, reach
from orchestrator.model.errors import InfrastructureError
from tests.contract.mutations.world import Mutation, World, mode


@contextmanager
def foreign_key(world: World) -> Iterator[None]:
    """A key that no server has open belongs to nobody in particular."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file = world.standby.site.machine.directory / "tls" / "rewinder.key"
    before = file.stat()
    shutil.chown(file, "nobody")
    try:
        yield
    finally:
        os.chown(file, before.st_uid, before.st_gid)


@contextmanager
def open_logs(world: World) -> Iterator[None]:
    """The audit log and its directory can be read by all."""
    with ExitStack() as stack:
        file = world.environment.secrets.audit_log
        stack.enter_context(mode(file, 0o644))
        stack.enter_context(mode(file.parent, 0o755))
        yield


@contextmanager
def erp_down(world: World) -> Iterator[None]:
    """The standby's ERP is stopped; afterwards it answers again."""
    site, machine = world.standby.site, world.standby.machine
    machine.program_stop(site.erp.program)
    try:
        yield
    finally:
        machine.program_start(site.erp.program)
        deadline = time.monotonic() + 60
        while True:
            try:
                reach(endpoint_of(site.erp.url))
                break
            except InfrastructureError:
                assert time.monotonic() < deadline, site.erp.url
                time.sleep(0.2)


def _standby_mode(path: str, wanted: int) -> Callable[[World], AbstractContextManager[None]]:
    def change(world: World) -> AbstractContextManager[None]:
        return mode(world.standby.site.machine.directory / path, wanted)

    return change


_FILES = "{standby}/files"
MUTATIONS = [
    Mutation(
        "host-keys-private",
        _FILES,
        "tls/objectstore.key 0644",
        _standby_mode("tls/objectstore.key", 0o644),
    ),
    Mutation(
        "host-configuration-private",
        _FILES,
        "etc/pgbackrest.conf 0640",
        _standby_mode("etc/pgbackrest.conf", 0o640),
    ),
    Mutation("host-owners", _FILES, "tls/rewinder.key 0600 nobody", foreign_key),
    Mutation(
        "host-directories-closed",
        _FILES,
        "data/pgbackrest 0755",
        _standby_mode("data/pgbackrest", 0o755),
    ),
    Mutation("host-logs-private", "common/files", "log/audit.log 0644", open_logs),
    Mutation("host-programs-up", "{standby}/programs", "down: erp", erp_down),
]
