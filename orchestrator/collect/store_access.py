"""Kind `store_access`: who gets into a site's object store, by real requests.

Data: `attempts` (how many), `granted` and `refused` (`WHO: ACT`) of requests that must be refused:
without keys, with a wrong secret, with the other site's keys, and with the application's keys to
make a bucket (an object is read where the application can name one);
`visible_buckets` (what the application's keys list).
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from orchestrator.collect.observe import Collector, Observation, secret_entry
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.objectstore_access import Attempt, Stranger
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

KIND = "store_access"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's store."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/object_store",
            source=f"{name}/object_store at {site.object_store.url}, without keys, with wrong ones "
            "and with the application's",
            query="ListBuckets, ListObjectsV2, GetObject, PutObject, CreateBucket, each as one who "
            "must be refused; ListBuckets as the application",
            look=partial(look, environment, secrets, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site) -> Observation:
    """Try to get in. Raises InfrastructureError."""
    keys = secret_entry(secrets, site.object_store.secret)
    peer = secret_entry(secrets, environment.peer(site.name).object_store.secret)
    store = ObjectStore(environment, site, keys)
    nobody = Stranger(environment, site, "without keys")
    attempts: list[Attempt] = [nobody.list_buckets()]
    for bucket in site.object_store.buckets.values():
        attempts += [nobody.list_objects(bucket), nobody.write(bucket)]
        if key := _some_key(store, bucket):
            attempts.append(nobody.read(bucket, key))
    wrong = {**keys, "secret_key": f"{keys['secret_key'][:-1]}-"}
    attempts += [
        Stranger(environment, site, "with a wrong secret", wrong).list_buckets(),
        Stranger(environment, site, "with the other site's keys", peer).list_buckets(),
        Stranger(environment, site, "the application", keys).make_bucket(),
    ]
    data = {
        "attempts": len(attempts),
        "granted": [str(one) for one in attempts if not one.code],
        "refused": [f"{one} ({one.code})" for one in attempts if one.code],
        "visible_buckets": sorted(store.buckets()),
    }
    return Observation(data, len(attempts))


def _some_key(store: ObjectStore, bucket: str) -> str:
    """An object that is there; none when the bucket is empty or its own application is refused.

    That is a fact of kind `bucket_objects`, and must not hide who is let in instead.
    """
    with suppress(InfrastructureError):
        if there := store.versions(bucket):
            return there[-1].key
    return ""
