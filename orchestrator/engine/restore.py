"""The evidence buckets of an environment's sites, to list its logs and to restore one from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.drivers.evidence_bucket import evidence_bucket
from orchestrator.drivers.secrets import Secrets
from orchestrator.engine.mirror import Bucket
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.sites import mirror, recover
from orchestrator.evidence.sites.copies import Copies, Copy, PassedOver
from orchestrator.evidence.sites.restore import Restoration
from orchestrator.evidence.tlog import log, tiles
from orchestrator.evidence.tlog.entries import parse_entry
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.fact import timestamp


@dataclass(frozen=True)
class Listed:
    """A log in the bucket of one site: its newest checkpoint that a trusted key signed.

    `last` is when its last entry was logged; both are None when no checkpoint is trusted.
    """

    site: str
    origin: str
    size: int | None
    last: datetime | None

    @property
    def log_id(self) -> str:
        """The last part of its origin."""
        return self.origin.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        last = timestamp(self.last) if self.last else None
        where = {"site": self.site, "id": self.log_id, "origin": self.origin}
        return {**where, "entries": self.size, "last_entry_at": last}


@dataclass(frozen=True)
class Restored:
    """What came back: `written` paths of the state directory, `missing` what no site has.

    `lost_entries` is how much larger a log was that a trusted key signed and that is not whole.
    """

    origin: str
    entries: int
    lost_entries: int
    written: tuple[str, ...]
    missing: tuple[str, ...]
    passed_over: tuple[PassedOver, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all that was logged is there again."""
        return not self.missing and not self.lost_entries

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "origin": self.origin,
            "entries": self.entries,
            "whole": self.is_whole,
            "lost_entries": self.lost_entries,
            "written": list(self.written),
            "missing": list(self.missing),
            "passed_over": [one.to_json() for one in self.passed_over],
        }


def buckets_of(
    environment: Environment, secrets: Secrets, site: str | None
) -> tuple[dict[str, Bucket], dict[str, str]]:
    """Return site → its bucket, of one site or of all, and site → why it cannot be asked.

    Raises InputError for a site that the environment does not have, InfrastructureError when none
    can be asked.
    """
    if site is not None and site not in environment.sites:
        known = ", ".join(environment.sites)
        raise InputError(f"{environment.name} has no site {site!r}", f"it has {known}")
    found: dict[str, Bucket] = {}
    problems: dict[str, str] = {}
    for name in [site] if site else environment.sites:
        try:
            bucket = evidence_bucket(environment, environment.sites[name], secrets)
            bucket.versions(f"log/{environment.name}/", "/")  # it answers
            found[name] = bucket
        except InfrastructureError as error:
            problems[name] = error.what
    if not found:
        raise InfrastructureError(
            "; ".join(f"{name}: {why}" for name, why in problems.items()),
            "bring a site's object store and the secret manager back, then again",
        )
    return found, problems


def copies_of(
    buckets: Mapping[str, Bucket],
    environment: str,
    report: Callable[[str], None] = lambda what: None,
) -> Copies:
    """Return all that the buckets hold of an environment's evidence, the newest first.

    `report` is told what is read.
    """

    def fetch(one: Copy) -> bytes:
        report(f"{one.site}: {one.key}")
        return buckets[one.site].get(one.key, one.version)

    every = [
        (one.modified, Copy(site, one.key, one.version, one.size_bytes))
        for site, bucket in buckets.items()
        for prefix, delimiter in ((f"log/{environment}/", ""), ("", "/"))
        for one in bucket.versions(prefix, delimiter)
    ]
    newest_first = sorted(every, key=lambda one: one[0], reverse=True)  # stable: as S3 lists them
    return Copies.of((copy for _, copy in newest_first), fetch)


def list_logs(
    buckets: Mapping[str, Bucket], environment: str, keys: Sequence[PublicKey]
) -> list[Listed]:
    """Return the logs of an environment in these buckets, as their checkpoints have them.

    Their tiles are not verified: a restoration does that.
    """
    found = []
    for site, bucket in buckets.items():
        copies = copies_of({site: bucket}, environment)
        for log_id in recover.ids(copies, environment):
            origin = f"{log.ORIGIN}/{environment}/{log_id}"
            heads = ((head, one) for _, head, one in recover.heads(copies, origin, keys))
            head = next(heads, None)
            size = head[1].size if head else None
            last = _last_time(copies, origin, size) if size else None
            found.append(Listed(site, origin, size, last))
    return found


def _last_time(copies: Copies, origin: str, size: int) -> datetime | None:
    index, rest = divmod(size - 1, tiles.WIDTH)
    path = tiles.tile_path(None, index, rest + 1)

    def last(content: bytes) -> datetime:
        return parse_entry(tiles.unpack_entries(path, content, rest + 1)[-1], size - 1).time

    return copies.first(mirror.prefix_of(origin) + path, last)


def restore(
    buckets: Mapping[str, Bucket],
    state: Path,
    environment: str,
    keys: Sequence[PublicKey],
    log_id: str | None = None,
    *,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda what: None,
    written: Callable[[str], None] = lambda path: None,
) -> Restored:
    """Put an environment's evidence back into a state directory from these buckets.

    `report` is told each object that is read, `written` each path that was written.
    Raises InputError when they hold no log of it, or several and none was named; Refused when no
    log is whole and signed by one of the keys, or when the state directory has another.
    """
    copies = copies_of(buckets, environment, report)
    origin = f"{log.ORIGIN}/{environment}/{_chosen(copies, environment, log_id, list(buckets))}"
    found = recover.recover(copies, origin, keys)
    if found is None:
        whys = sorted({one.why for one in copies.passed_over}) or ["there is no checkpoint"]
        raise Refused(
            f"no log {origin} is there whole and signed by a trusted key: {'; '.join(whys)}",
            "give the keys that it was signed with (--trust, again for a rotated one), or try "
            "another site",
        )
    made = Restoration(state, environment, found, copies, keys, dry_run, written)
    try:
        made.put_back()
    except OSError as error:
        raise InfrastructureError(
            f"cannot write to {state}: {error}", "make room or it writable, then again"
        ) from error
    return Restored(
        origin,
        found.checkpoint.size,
        found.lost_entries,
        tuple(made.written),
        tuple(made.missing),
        tuple(copies.passed_over),
    )


def _chosen(copies: Copies, environment: str, log_id: str | None, sites: list[str]) -> str:
    there = recover.ids(copies, environment)
    where = f"in the evidence bucket of {' and '.join(sites)}"
    see = f"see `anlan evidence log list {environment}`"
    if not there:
        raise InputError(f"there is no log of {environment} {where}", "nothing was mirrored there")
    if log_id is None and len(there) > 1:
        raise InputError(
            f"there are {len(there)} logs of {environment} {where}: {', '.join(there)}",
            f"name the one to restore with --log; {see}",
        )
    if log_id is not None and log_id not in there:
        raise InputError(f"there is no log {log_id} of {environment} {where}", see)
    return log_id or there[0]
