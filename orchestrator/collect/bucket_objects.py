"""Kind `bucket_objects`: whether what a bucket holds is really kept.

Data: `bucket`, `versioning` (Enabled, Suspended or empty), `versions` (count, without probes), and
of the newest of them (`looked_at`): `unlocked` (keys without a lock), `weak_locks` (of another mode
than COMPLIANCE), `short_locks` (that end sooner after the writing than the descriptor's
`required_days`; of the version of a key that is read now: a store may date one that was overwritten
by when that was); `deletion_refused` and `deletion_code` (of a small object that was locked for
seconds and attacked), `probes_left` (objects of such probes that are still there).
"""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from orchestrator.collect.observe import Collector, Observation, secret_entry
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.objectstore_access import PROBES, probe_lock
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "bucket_objects"
_NEWEST = 8
# A store's clock and its list may differ by a moment.
_GRACE = timedelta(minutes=1)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each bucket: `a/object_store/backup`, `a/object_store/evidence`, …"""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/object_store/{purpose}",
            source=f"{name}/object_store at {site.object_store.url}, with the application's keys",
            query=f"GetBucketVersioning, ListObjectVersions of {bucket}; GetObjectRetention of the "
            f"{_NEWEST} newest; PutObject under a lock of seconds, DeleteObject of that version",
            look=partial(look, environment, secrets, site, bucket),
        )
        for name, site in environment.sites.items()
        for purpose, bucket in site.object_store.buckets.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site, bucket: str) -> Observation:
    """Look at the newest objects, and attack one. Raises InfrastructureError."""
    store = ObjectStore(environment, site, secret_entry(secrets, site.object_store.secret))
    required = environment.retention.object_lock_days
    there = [one for one in store.versions(bucket) if not one.key.startswith(PROBES)]
    newest = sorted(there, key=attrgetter("modified"))[-_NEWEST:]
    locks = {one: store.retained_until(bucket, one.key, one.version) for one in newest}
    probe = probe_lock(store, bucket, time.sleep)
    data: dict[str, Any] = {
        "bucket": bucket,
        "versioning": store.versioning(bucket),
        "versions": len(there),
        "looked_at": len(newest),
        "required_days": required,
        "unlocked": [one.key for one, (mode, _) in locks.items() if not mode],
        "weak_locks": [
            one.key for one, (mode, _) in locks.items() if mode not in {"", "COMPLIANCE"}
        ],
        "short_locks": [
            one.key
            for one, (_, until) in locks.items()
            if one.is_latest and until < one.modified + timedelta(days=required) - _GRACE
        ],
        "deletion_refused": probe.refused,
        "deletion_code": probe.code,
        "probes_left": probe.left,
    }
    return Observation(data, len(newest) + 1)
