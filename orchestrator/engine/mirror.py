"""The log of an environment, put into the evidence bucket of every site as it grows.

Whoever appends to a log calls `mirror_all` afterwards. What a dead process or a site that was down
left out is put by the next call: the newest checkpoint of the bucket says from where. An append
costs a site 4 requests (get that checkpoint, put two tiles and the new checkpoint); where a tile
became full a few more, and one for a schedule, and for each key when another one signed. A call
that finds no checkpoint of ours, as the first does, lists the log's prefix once.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.drivers.evidence_bucket import evidence_bucket
from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.drivers.secrets import Secrets
from orchestrator.evidence import layout
from orchestrator.evidence.sites import mirror
from orchestrator.evidence.sites.mirror import Standing
from orchestrator.evidence.tlog import log, note
from orchestrator.evidence.tlog.entries import LogError
from orchestrator.evidence.tlog.tiles import CHECKPOINT, TileError
from orchestrator.model.environment import Environment
from orchestrator.model.errors import AnlanError, InfrastructureError, Refused

_IMPATIENCE_SECONDS = 5.0
"""Before a drill touches anything, a site that does not answer may keep it waiting so long."""


class Bucket(Protocol):
    """A versioned bucket whose objects are locked; verbs raise InfrastructureError."""

    def newest(self, key: str, most_bytes: int | None = None) -> bytes | None:
        """The newest content of a key, no more than `most_bytes` of it; None without one."""

    def versions(self, prefix: str = "", delimiter: str = "") -> tuple[ObjectVersion, ...]:
        """Every version below a prefix, of one key the newest first."""

    def get(self, key: str, version: str) -> bytes:
        """The content of one version."""

    def put(self, key: str, content: bytes) -> None:
        """Store a new version."""

    def put_once(self, key: str, content: bytes) -> bool:
        """Store it unless it is there already; whether it was stored."""


@dataclass(frozen=True)
class Mirrored:
    """What a site came to: the keys that were put, and why it does not hold the log, if so."""

    site: str
    put: tuple[str, ...] = ()
    problem: str = ""
    size: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        about = {"site": self.site, "entries": self.size, "put": list(self.put)}
        return {**about, "problem": self.problem or None}


def mirror_all(
    state: Path,
    environment: Environment,
    secrets: Secrets,
    *,
    whole: bool = False,
    patient: bool = True,
    report: Callable[[str, str], None] = lambda site, key: None,
) -> list[Mirrored]:
    """Put what is new of an environment's log at every site; a site's failure is in its result.

    `whole` believes no checkpoint: it lists what is there and puts what is missing, bundles too.
    Not `patient`: a site that does not answer costs seconds, for when a drill waits for it.
    """
    found = []
    for name, site in environment.sites.items():
        put: list[str] = []

        def tell(key: str, site: str = name, put: list[str] = put) -> None:
            put.append(key)
            report(site, key)

        try:
            patience = None if patient else _IMPATIENCE_SECONDS
            bucket = evidence_bucket(environment, site, secrets, patience_seconds=patience)
            size = mirror_to(bucket, name, state, environment.name, tell, whole=whole)
            found.append(Mirrored(name, tuple(put), "", size))
        except AnlanError as error:
            found.append(Mirrored(name, tuple(put), error.what))
    return found


def mirror_to(
    bucket: Bucket,
    site: str,
    state: Path,
    environment: str,
    report: Callable[[str], None] = lambda key: None,
    *,
    whole: bool = False,
) -> int:
    """Put what is new of an environment's log into one bucket; return how many entries it holds.

    Raises InfrastructureError, or Refused when the bucket has another continuation of this log.
    """
    try:
        return _mirror_to(bucket, site, state, environment, report, whole=whole)
    except OSError as error:
        raise InfrastructureError(
            f"the evidence in {state} cannot be read: {error}", "make it readable, then again"
        ) from error


def _mirror_to(
    bucket: Bucket,
    site: str,
    state: Path,
    environment: str,
    report: Callable[[str], None],
    *,
    whole: bool,
) -> int:
    with _alone(state, environment, site):
        while True:
            ours = mirror.standing(state, environment)
            if ours is None:
                return 0
            try:
                _put(bucket, ours, report, whole=whole)
            except FileNotFoundError as error:
                if log.log_of(state, environment).read(CHECKPOINT) == ours.head:
                    raise InfrastructureError(
                        f"{error.filename} belongs to the log and is not there",
                        f"`anlan evidence restore {environment}`, or put it back from a copy",
                    ) from error
                continue  # the log grew: a tile of this head is gone, the next has its place
            except TileError as error:
                raise log.log_of(state, environment).damaged(error) from error
            return ours.checkpoint.size


def _put(bucket: Bucket, ours: Standing, report: Callable[[str], None], *, whole: bool) -> None:
    # Whoever has the store's keys can put something endless there.
    head = bucket.newest(ours.prefix + CHECKPOINT, note.MOST_BYTES + 1)
    if head == ours.head and not whole:
        return
    try:
        there = mirror.known_there(ours, head)
    except LogError as error:
        raise Refused(
            f"the log of {ours.environment} is not the one that goes on in the bucket: here it "
            f"{error}",
            "another state directory went on with it, or this one was cut: see `anlan evidence log "
            f"list {ours.environment}`, and restore that one (`anlan evidence restore`)",
        ) from error
    if whole or there is None:
        there = None
        versions = bucket.versions(ours.prefix)
        listed = {(one.key, one.size_bytes) for one in versions if one.is_latest}
    else:
        listed = set()
    if whole:
        _put_bundles(bucket, ours, report)
    for path in mirror.wanted(ours, there):
        key, content = ours.prefix + path, ours.content(path)
        if path == CHECKPOINT:
            if head != content:
                bucket.put(key, content)
                report(key)
        elif (key, len(content)) not in listed and bucket.put_once(key, content):
            report(key)


def _put_bundles(bucket: Bucket, ours: Standing, report: Callable[[str], None]) -> None:
    """The bundles of the log's runs, which a site that was down missed."""
    there = {one.key for one in bucket.versions("", "/") if one.is_latest}
    for entry in ours.entries:
        key = f"{entry.run_id}.zip"
        bundle = ours.state / layout.BUNDLES / key
        if entry.kind == "run" and key not in there and bundle.is_file():
            bucket.put(key, bundle.read_bytes())
            report(key)


@contextmanager
def _alone(state: Path, environment: str, site: str) -> Iterator[None]:
    """One process at a time for each log and site: an older head never follows a newer one."""
    folder = state / log.FOLDER / environment
    if not folder.is_dir():
        yield
        return
    with (folder / f".mirror-{site}.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
