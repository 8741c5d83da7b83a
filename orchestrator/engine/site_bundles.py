"""The bundles of runs at the sites: until when they are locked, and removing those of before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from orchestrator.drivers.objectstore import ObjectStore, ObjectVersion
from orchestrator.drivers.secrets import Secrets
from orchestrator.evidence.retained.retention import AtSite
from orchestrator.model.environment import Environment
from orchestrator.model.errors import AnlanError

_T = TypeVar("_T")


class Shelf(Protocol):
    """A bucket of a site with bundles. Verbs raise AnlanError when it cannot be asked."""

    def versions(self) -> Iterable[ObjectVersion]:
        """Every version of every object."""
        ...

    def locked_until(self, one: ObjectVersion) -> datetime:
        """Until when a version is locked (UTC); when it was written if it never was."""
        ...

    def remove(self, one: ObjectVersion) -> bool:
        """Remove a version for good; False when the store refuses since it is locked."""
        ...


@dataclass(frozen=True)
class EvidenceBucket:
    """The evidence bucket of a site's store."""

    store: ObjectStore

    def versions(self) -> Iterable[ObjectVersion]:
        """Every version of every object."""
        return self.store.versions(self.store.bucket("evidence"))

    def locked_until(self, one: ObjectVersion) -> datetime:
        """Until when a version is locked (UTC); when it was written if it never was."""
        return self.store.retained_until(self.store.bucket("evidence"), one.key, one.version)[1]

    def remove(self, one: ObjectVersion) -> bool:
        """Remove a version for good; False when the store refuses since it is locked."""
        return self.store.remove_version(self.store.bucket("evidence"), one)


@dataclass(frozen=True)
class Removal:
    """What became of bundles at a site: versions removed, versions still locked, or `unknown`."""

    removed: int = 0
    locked: int = 0
    unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"removed": self.removed, "locked": self.locked, "unknown": self.unknown}


class SiteBundles:
    """The bundles of an environment's sites; each site is listed once, when it is asked first."""

    def __init__(self, shelves: Mapping[str, Callable[[], Shelf]]) -> None:
        self._open = shelves
        self._shelves: dict[str, Shelf] = {}
        self._versions: dict[str, dict[str, list[ObjectVersion]]] = {}
        self._silent: dict[str, str] = {}

    def ask(self, run_id: str) -> dict[str, AtSite]:
        """Return what each site says of a run's bundle; one that cannot be asked says so."""
        return {name: self._at(name, run_id) for name in self._open}

    def remove(self, run_ids: Iterable[str], now: datetime) -> dict[str, Removal]:
        """Remove the versions of these runs' bundles whose lock is over; no lock is bypassed."""
        wanted = sorted(run_ids)
        return {name: self._remove_at(name, wanted, now) for name in self._open}

    def _at(self, name: str, run_id: str) -> AtSite:
        found = self._try(name, lambda: self._ends(name, run_id))
        if isinstance(found, str):
            return AtSite(unknown=found)
        return AtSite(max((until for _, until in found), default=None))

    def _remove_at(self, name: str, run_ids: list[str], now: datetime) -> Removal:
        removed = locked = 0

        def work() -> None:
            nonlocal removed, locked
            for run_id in run_ids:
                for one, until in self._ends(name, run_id):
                    if until < now and self._shelves[name].remove(one):
                        removed += 1
                    else:
                        locked += 1

        why = self._try(name, work)
        return Removal(removed, locked, why or "")

    def _ends(self, name: str, run_id: str) -> list[tuple[ObjectVersion, datetime]]:
        """The versions of a bundle at a site, each with the end of its lock. Raises AnlanError."""
        if name not in self._versions:
            shelf = self._shelves[name] = self._open[name]()
            there: dict[str, list[ObjectVersion]] = {}
            for one in shelf.versions():
                there.setdefault(one.key, []).append(one)
            self._versions[name] = there
        shelf = self._shelves[name]
        there = self._versions[name]
        return [(one, shelf.locked_until(one)) for one in there.get(f"{run_id}.zip", [])]

    def _try(self, name: str, work: Callable[[], _T]) -> _T | str:
        """What `work` returns, or why the site could not be asked: it is not asked again then."""
        if name not in self._silent:
            try:
                return work()
            except AnlanError as error:
                self._silent[name] = error.what
        return self._silent[name]


def site_bundles(environment: Environment, secrets: Secrets) -> SiteBundles:
    """Return the bundles of an environment's sites; nothing is asked yet."""

    def opener(name: str) -> Callable[[], Shelf]:
        site = environment.sites[name]
        return lambda: EvidenceBucket(
            ObjectStore(environment, site, secrets.kv(site.object_store.secret))
        )

    return SiteBundles({name: opener(name) for name in environment.sites})
