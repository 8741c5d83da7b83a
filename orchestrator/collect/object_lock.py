"""Kind `object_lock`: what the buckets of each site's object store keep from deletion.

Data: `bucket`, `enabled`, `mode` (COMPLIANCE, GOVERNANCE or empty), `days` of default retention.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, secret_entry
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "object_lock"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each bucket: `a/object_store/backup`, `a/object_store/evidence`, …"""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/object_store/{purpose}",
            source=f"{name}/object_store at {site.object_store.url}, with the application's keys",
            query=f"GetObjectLockConfiguration of bucket {bucket}",
            look=partial(look, environment, secrets, site, bucket),
        )
        for name, site in environment.sites.items()
        for purpose, bucket in site.object_store.buckets.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site, bucket: str) -> Observation:
    """Ask for one bucket's lock. Raises InfrastructureError."""
    keys = secret_entry(secrets, site.object_store.secret)
    lock = ObjectStore(environment, site, keys).lock_settings(bucket)
    data = {"bucket": bucket, "enabled": lock.enabled, "mode": lock.mode, "days": lock.days}
    return Observation(data, 1)
