"""Mutations of the object stores, done with the store's own administrator or the application."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

from orchestrator.drivers.objectstore import ObjectStore
from tests.contract.mutations.world import Mutation, World

_KEY = "test/mallory"
_LOCK_SECONDS = 4


def _keys(world: World) -> Mapping[str, str]:
    return world.secrets.kv(world.primary.site.object_store.secret)


def administrator(world: World) -> Any:
    """An S3 client of the store's administrator."""
    keys, settings = _keys(world), world.primary.site.object_store
    return boto3.client(
        "s3",
        endpoint_url=settings.url,
        region_name=settings.region,
        aws_access_key_id=keys["root_access_key"],
        aws_secret_access_key=keys["root_secret_key"],
        verify=str(world.environment.tls.ca_file),
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={},
        ),
    )


@contextmanager
def public_bucket(world: World) -> Iterator[None]:
    """Anybody may list and read the backups."""
    client, bucket = administrator(world), world.primary.site.object_store.buckets["backup"]
    rule = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:ListBucket", "s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    document = {"Version": "2012-10-17", "Statement": [rule]}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    try:
        yield
    finally:
        client.delete_bucket_policy(Bucket=bucket)


@contextmanager
def governance(world: World) -> Iterator[None]:
    """What is written to the backups from now on gets a lock that can be bypassed."""
    client, bucket = administrator(world), world.primary.site.object_store.buckets["backup"]
    before = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    _set_lock(client, bucket, {"ObjectLockEnabled": "Enabled", "Rule": rule})
    try:
        yield
    finally:
        _set_lock(client, bucket, before)


def _set_lock(client: Any, bucket: str, lock: Mapping[str, Any]) -> None:
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)


@contextmanager
def _weak_object(world: World, mode: str) -> Iterator[None]:
    """An object of the evidence under a lock of seconds; it is gone afterwards."""
    client, bucket = administrator(world), world.primary.site.object_store.buckets["evidence"]
    client.put_object(
        Bucket=bucket,
        Key=_KEY,
        Body=b"mallory",
        ObjectLockMode=mode,
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(seconds=_LOCK_SECONDS),
        ChecksumAlgorithm="SHA256",
    )
    try:
        yield
    finally:
        time.sleep(_LOCK_SECONDS)
        store = ObjectStore(world.environment, world.primary.site, _keys(world))
        assert store.remove_all(bucket, _KEY) == 0


_BACKUP, _EVIDENCE = "{primary}/object_store/backup", "{primary}/object_store/evidence"
MUTATIONS = [
    Mutation(
        "store-closed-to-strangers",
        "{primary}/object_store",
        "without keys: list bucket backup",
        public_bucket,
    ),
    Mutation("object-lock", _BACKUP, "the default retention is of mode GOVERNANCE", governance),
    Mutation(
        "bucket-objects-locked",
        _EVIDENCE,
        f"locks that can be bypassed: {_KEY}",
        lambda world: _weak_object(world, "GOVERNANCE"),
    ),
    Mutation(
        "bucket-locks-last",
        _EVIDENCE,
        f"locks that end too soon: {_KEY}",
        lambda world: _weak_object(world, "COMPLIANCE"),
    ),
]
