"""Mutations of the object stores, done with the store's own administrator or the application."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from orchestrator.drivers.objectstore import ObjectStore, checksum
from tests.contract.mutations.world import Mutation, World

_KEY = "test/mallory"
_BUCKET = "test-payroll"
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
        ChecksumSHA256=checksum(b"mallory"),
    )
    try:
        yield
    finally:
        time.sleep(_LOCK_SECONDS)
        store = ObjectStore(world.environment, world.primary.site, _keys(world))
        assert store.remove_all(bucket, _KEY) == 0


@contextmanager
def foreign_bucket(world: World) -> Iterator[None]:
    """The application owns a bucket that is no business of it."""
    client, owner = administrator(world), _keys(world)["access_key"]
    client.create_bucket(Bucket=_BUCKET)
    _administer(world, f"change-bucket-owner?bucket={_BUCKET}&owner={owner}")
    try:
        yield
    finally:
        client.delete_bucket(Bucket=_BUCKET)


def _administer(world: World, path: str) -> None:
    """A request of versitygw's own admin interface, which is one port further."""
    keys, settings = _keys(world), world.primary.site.object_store
    place = urlsplit(settings.url)
    url = f"https://{place.hostname}:{(place.port or 443) + 1}/{path}"
    digest = hashlib.sha256(b"").hexdigest()
    request = AWSRequest("PATCH", url, data=b"", headers={"X-Amz-Content-Sha256": digest})
    credentials = Credentials(keys["root_access_key"], keys["root_secret_key"])
    SigV4Auth(credentials, "s3", settings.region).add_auth(request)
    answer = requests.patch(
        url, headers=dict(request.headers), verify=str(world.environment.tls.ca_file), timeout=10
    )
    assert answer.status_code < 300, answer.text


_BACKUP, _EVIDENCE = "{primary}/object_store/backup", "{primary}/object_store/evidence"
MUTATIONS = [
    Mutation(
        "store-closed-to-strangers",
        "{primary}/object_store",
        "without keys: list bucket backup",
        public_bucket,
    ),
    Mutation(
        "store-own-buckets",
        "{primary}/object_store",
        f"it also sees: {_BUCKET}",
        foreign_bucket,
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
