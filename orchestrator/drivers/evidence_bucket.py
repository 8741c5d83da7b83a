"""The evidence bucket of one site: what is put there stays under Object Lock."""

from __future__ import annotations

from orchestrator.drivers.objectstore import ObjectStore, ObjectVersion
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site


class EvidenceBucket:
    """The evidence bucket of a store; verbs raise InfrastructureError.

    What is put is locked for `days`, as long as the environment's retention says.
    """

    def __init__(self, store: ObjectStore, days: float) -> None:
        self._store, self._days = store, days
        self._bucket = store.bucket("evidence")

    def newest(self, key: str, most_bytes: int | None = None) -> bytes | None:
        """The newest content of a key, no more than `most_bytes` of it; None without one."""
        return self._store.newest(self._bucket, key, most_bytes)

    def versions(self, prefix: str = "", delimiter: str = "") -> tuple[ObjectVersion, ...]:
        """Every version below a prefix, of one key the newest first (`ObjectStore.versions`)."""
        return self._store.versions(self._bucket, prefix, delimiter)

    def get(self, key: str, version: str) -> bytes:
        """The content of one version."""
        return self._store.get(self._bucket, key, version)

    def put(self, key: str, content: bytes) -> None:
        """Store a new version."""
        self._store.put_locked(self._bucket, key, content, days=self._days)

    def put_once(self, key: str, content: bytes) -> bool:
        """Store it unless the newest version is that already; whether it was stored."""
        return self._store.put_locked_once(self._bucket, key, content, days=self._days)


def evidence_bucket(
    environment: Environment,
    site: Site,
    secrets: Secrets,
    *,
    patience_seconds: float | None = None,
) -> EvidenceBucket:
    """Return a site's evidence bucket; its keys come from the secret manager.

    Raises InfrastructureError when they cannot be read. For `patience_seconds` see `ObjectStore`.
    """
    keys = secrets.kv(site.object_store.secret)
    store = ObjectStore(environment, site, keys, patience_seconds=patience_seconds)
    return EvidenceBucket(store, environment.retention.evidence_lock_days)
