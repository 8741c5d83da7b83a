"""Who gets into an S3 store: real requests of somebody who must not, and what came of each.

Each leaves nothing behind when it is refused. What is granted is taken back where that is possible.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROBES = "anlan-probe/"
"""Below it are the objects that are made to be attacked; one is gone after seconds."""
_LOCK_SECONDS = 2.0
_EMPTY = base64.b64encode(hashlib.sha256(b"").digest()).decode()
_MISSING = frozenset({"NoSuchKey", "404"})


@dataclass(frozen=True)
class Attempt:
    """An act, by whom, and the store's error code; empty: it was granted."""

    who: str
    act: str
    code: str

    def __str__(self) -> str:
        return f"{self.who}: {self.act}"


class Stranger:
    """Somebody without keys, or with `keys` that must not do; verbs raise InfrastructureError."""

    def __init__(
        self, environment: Environment, site: Site, who: str, keys: Mapping[str, str] | None = None
    ) -> None:
        self.who, self._site = who, site
        identity: dict[str, Any] = (
            {
                "aws_access_key_id": keys["access_key"],
                "aws_secret_access_key": keys["secret_key"],
            }
            if keys
            else {}
        )
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=site.object_store.url,
            region_name=site.object_store.region,
            verify=str(environment.tls.ca_file),
            config=Config(
                signature_version="s3v4" if keys else UNSIGNED,
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
            **identity,
        )

    def list_buckets(self) -> Attempt:
        """See which buckets there are."""
        return self._try("list the buckets", self._client.list_buckets)

    def list_objects(self, bucket: str) -> Attempt:
        """See which objects a bucket holds."""
        return self._try(
            f"list bucket {bucket}", lambda: self._client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        )

    def read(self, bucket: str, key: str) -> Attempt:
        """Read an object that is there."""
        return self._try(
            f"read an object of {bucket}",
            lambda: self._client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0"),
        )

    def write(self, bucket: str) -> Attempt:
        """Write an object; one that the store takes is under a lock of seconds."""
        until = datetime.now(UTC) + timedelta(seconds=_LOCK_SECONDS)
        return self._try(
            f"write to {bucket}",
            lambda: self._client.put_object(
                Bucket=bucket,
                Key=f"{PROBES}{secrets.token_hex(8)}",
                # versitygw ends a refused request before it has read the body: there is none, and
                # its checksum is in the header.
                Body=b"",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
                ChecksumSHA256=_EMPTY,
            ),
        )

    def make_bucket(self) -> Attempt:
        """Make a bucket; one that was made is removed."""
        name = f"anlan-probe-{secrets.token_hex(8)}"
        done = self._try("make a bucket", lambda: self._client.create_bucket(Bucket=name))
        if not done.code:
            self._client.delete_bucket(Bucket=name)
        return done

    def _try(self, act: str, request: Callable[[], Any]) -> Attempt:
        """Do it. Raises InfrastructureError for what is no answer of the store's."""
        try:
            request()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in _MISSING or not 400 <= status < 500:
                raise self._no_answer(act, error) from error
            return Attempt(self.who, act, code or str(status))
        except BotoCoreError as error:
            raise self._no_answer(act, error) from error
        return Attempt(self.who, act, "")

    def _no_answer(self, act: str, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the object store {self._site.object_store.url} gave {self.who} no answer to: {act}: "
            f"{error}",
            "start it (program `objectstore`)",
        )


@dataclass(frozen=True)
class LockProbe:
    """What became of a small locked object: was its deletion refused, and with which code.

    `left` counts the objects of such probes that are still there: their lock is not over.
    """

    refused: bool
    code: str
    left: int


def probe_lock(store: ObjectStore, bucket: str, sleep: Callable[[float], None]) -> LockProbe:
    """Lock a small object for seconds, try to delete it, and remove it when its lock is over.

    A killed one leaves an object that the next one removes. Raises InfrastructureError.
    """
    key = f"{PROBES}{secrets.token_hex(8)}"
    version = store.put_locked(bucket, key, b"anlan", days=_LOCK_SECONDS / 86_400)
    tried = store.try_delete_locked(bucket, key, version)
    left = 1
    for _ in range(3):
        sleep(_LOCK_SECONDS)
        if not (left := store.remove_all(bucket, PROBES)):
            break
    return LockProbe(tried.refused, tried.code, left)
