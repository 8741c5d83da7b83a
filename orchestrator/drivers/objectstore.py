"""The S3 store of one site: what its Object Lock keeps, and that it really refuses to delete."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, SSLError

from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What S3 servers answer to the deletion of a locked version.
_LOCKED = frozenset({"AccessDenied", "ObjectLocked", "InvalidRequest", "MethodNotAllowed"})
_NOT_THERE = frozenset({"NoSuchKey", "404"})


@dataclass(frozen=True)
class LockSettings:
    """The default retention of a bucket; `mode` is COMPLIANCE, GOVERNANCE or empty (none)."""

    enabled: bool
    mode: str
    days: int


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object; `modified` is aware UTC."""

    key: str
    version: str
    size_bytes: int
    modified: datetime
    is_latest: bool


@dataclass(frozen=True)
class DeletionAttempt:
    """An attempt to delete a locked version: `refused`, and the server's error code."""

    refused: bool
    code: str


class ObjectStore:
    """The store of one site, with the application's keys. Verbs raise InfrastructureError."""

    def __init__(
        self,
        environment: Environment,
        site: Site,
        keys: Mapping[str, str],
        *,
        patience_seconds: float | None = None,
    ) -> None:
        """Nothing is asked yet. With `patience_seconds` a request that long unanswered has failed.

        Without, one is tried three times, for up to 30 s each.
        """
        self.settings = site.object_store
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.settings.url,
            region_name=self.settings.region,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_key"],
            verify=str(environment.tls.ca_file),
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=min(5, patience_seconds or 5),
                read_timeout=patience_seconds or 30,
                retries={"max_attempts": 2 if patience_seconds is None else 0},
                # Else a refused PUT shows as an SSL error (seen with versitygw 1.8).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )

    def bucket(self, purpose: str) -> str:
        """The name of the bucket for `backup` or `evidence`."""
        return self.settings.buckets[purpose]

    def buckets(self) -> tuple[str, ...]:
        """The names of the buckets that these keys list."""
        try:
            return tuple(one["Name"] for one in self._client.list_buckets()["Buckets"])
        except (ClientError, BotoCoreError) as error:
            raise self._failed("list its buckets", error) from error

    def versioning(self, bucket: str) -> str:
        """Whether a bucket keeps every version: Enabled, Suspended, or empty (never was)."""
        try:
            return str(self._client.get_bucket_versioning(Bucket=bucket).get("Status", ""))
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"read the versioning of bucket {bucket}", error) from error

    def lock_settings(self, bucket: str) -> LockSettings:
        """The Object Lock of a bucket."""
        try:
            answer = self._client.get_object_lock_configuration(Bucket=bucket)
        except ClientError as error:
            if _code(error) == "ObjectLockConfigurationNotFoundError":
                return LockSettings(False, "", 0)
            raise self._failed(f"read the lock of bucket {bucket}", error) from error
        except BotoCoreError as error:
            raise self._failed(f"read the lock of bucket {bucket}", error) from error
        lock: Any = answer["ObjectLockConfiguration"]
        rule = lock.get("Rule", {}).get("DefaultRetention", {})
        return LockSettings(
            enabled=lock.get("ObjectLockEnabled") == "Enabled",
            mode=str(rule.get("Mode", "")),
            days=int(rule.get("Days", 0)) + 365 * int(rule.get("Years", 0)),
        )

    def versions(
        self, bucket: str, prefix: str = "", delimiter: str = ""
    ) -> tuple[ObjectVersion, ...]:
        """Every version of every object below `prefix` (delete markers left out).

        Of one key the newest first. With a `delimiter` none of keys that have it behind the prefix.
        """
        return tuple(
            ObjectVersion(
                entry["Key"],
                entry["VersionId"],
                entry["Size"],
                entry["LastModified"].astimezone(UTC),
                entry["IsLatest"],
            )
            for entry in self._listed(bucket, prefix, "Versions", delimiter)
        )

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """The bytes of an object, of its newest version unless one is named."""
        more: dict[str, Any] = {"VersionId": version} if version else {}
        try:
            return self._client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"read {bucket}/{key}", error) from error

    def newest(self, bucket: str, key: str, most_bytes: int | None = None) -> bytes | None:
        """The bytes of an object's newest version, no more than `most_bytes` of them.

        None without one, or when it is hidden.
        """
        try:
            return self._client.get_object(Bucket=bucket, Key=key)["Body"].read(most_bytes)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and _code(error) in _NOT_THERE:
                return None
            raise self._failed(f"read {bucket}/{key}", error) from error

    def put_locked(self, bucket: str, key: str, content: bytes, *, days: float) -> str:
        """Store an object under COMPLIANCE retention for `days`; returns its version."""
        try:
            return self._put_locked(bucket, key, content, days)
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"store {bucket}/{key}", error) from error

    def put_locked_once(self, bucket: str, key: str, content: bytes, *, days: float) -> bool:
        """The same, unless it is there with this content; whether it was stored.

        One request when it is not there (a conditional PUT), two when it is.
        """
        try:
            self._put_locked(bucket, key, content, days, IfNoneMatch="*")
        except (ClientError, BotoCoreError) as error:
            # A content that is refused before all of it was sent may show as a cut connection.
            refused = isinstance(error, ClientError) and _code(error) == "PreconditionFailed"
            if not (refused or isinstance(error, (SSLError, ConnectionClosedError))):
                raise self._failed(f"store {bucket}/{key}", error) from error
            if self.newest(bucket, key, len(content) + 1) == content:
                return False
            self.put_locked(bucket, key, content, days=days)
        return True

    def _put_locked(
        self, bucket: str, key: str, content: bytes, days: float, **condition: Any
    ) -> str:
        return self._client.put_object(
            Bucket=bucket,
            Key=key,
            Body=content,
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=days),
            ChecksumSHA256=checksum(content),
            **condition,
        )["VersionId"]

    def copy_locked(self, bucket: str, source: ObjectVersion, key: str, until: datetime) -> None:
        """Copy one version to another key, under COMPLIANCE retention until then (aware UTC)."""
        try:
            self._client.copy_object(
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": bucket, "Key": source.key, "VersionId": source.version},
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
            )
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"copy {bucket}/{source.key}", error) from error

    def own_lock(self, bucket: str, one: ObjectVersion) -> tuple[str, datetime] | None:
        """The mode and end (UTC) of a version's own lock; None when it has none."""
        return self._own_lock(bucket, one.key, one.version)

    def _own_lock(self, bucket: str, key: str, version: str) -> tuple[str, datetime] | None:
        try:
            answer = self._client.get_object_retention(Bucket=bucket, Key=key, VersionId=version)
        except ClientError as error:
            if _code(error) == "NoSuchObjectLockConfiguration":
                return None
            raise self._failed(f"read the retention of {bucket}/{key}", error) from error
        except BotoCoreError as error:
            raise self._failed(f"read the retention of {bucket}/{key}", error) from error
        retention: Any = answer["Retention"]
        return str(retention["Mode"]), retention["RetainUntilDate"].astimezone(UTC)

    def lock(self, bucket: str, one: ObjectVersion, until: datetime) -> None:
        """Give a version a COMPLIANCE lock of its own."""
        try:
            self._client.put_object_retention(
                Bucket=bucket,
                Key=one.key,
                VersionId=one.version,
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
            )
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"lock {bucket}/{one.key}", error) from error

    def remove_version(self, bucket: str, one: ObjectVersion) -> bool:
        """Remove one version for good; False when the store refuses: it is under a lock.

        No lock is bypassed, under governance either.
        """
        try:
            self._client.delete_object(Bucket=bucket, Key=one.key, VersionId=one.version)
        except ClientError as error:
            if _code(error) in _LOCKED:
                return False
            raise self._failed(f"delete {bucket}/{one.key}", error) from error
        except BotoCoreError as error:
            raise self._failed(f"delete {bucket}/{one.key}", error) from error
        return True

    def remove_all(self, bucket: str, prefix: str) -> int:
        """Remove every version and delete marker below `prefix` whose lock is over.

        Returns how many are left: those under a lock. Raises InfrastructureError.
        """
        left = 0
        there = [(one.key, one.version) for one in self.versions(bucket, prefix)]
        for key, version in (*self.delete_markers(bucket, prefix), *there):
            try:
                self._client.delete_object(Bucket=bucket, Key=key, VersionId=version)
            except ClientError as error:
                if _code(error) not in _LOCKED:
                    raise self._failed(f"delete {bucket}/{key}", error) from error
                left += 1
            except BotoCoreError as error:
                raise self._failed(f"delete {bucket}/{key}", error) from error
        return left

    def delete_markers(self, bucket: str, prefix: str = "") -> tuple[tuple[str, str], ...]:
        """Key and version of every delete marker below `prefix`."""
        found = self._listed(bucket, prefix, "DeleteMarkers")
        return tuple((one["Key"], one["VersionId"]) for one in found)

    def _listed(
        self, bucket: str, prefix: str, kind: str, delimiter: str = ""
    ) -> list[dict[str, Any]]:
        """The entries of a kind in the list of a bucket's versions, as S3 lists them."""
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {"Delimiter": delimiter} if delimiter else {}
        try:
            for page in self._client.get_paginator("list_object_versions").paginate(
                Bucket=bucket, Prefix=prefix, **more
            ):
                entries: Any = page.get(kind, [])
                found += entries
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"list bucket {bucket}", error) from error
        return found

    def retained_until(self, bucket: str, key: str, version: str) -> tuple[str, datetime]:
        """The lock mode of one version and the time (UTC) until which it holds.

        A version without a lock of its own has the bucket's, from when it was written; with
        neither the mode is empty and the time is that of writing.
        """
        own = self._own_lock(bucket, key, version)
        return own or self._default_retention(bucket, key, version)

    def _default_retention(self, bucket: str, key: str, version: str) -> tuple[str, datetime]:
        lock = self.lock_settings(bucket)
        try:
            head = self._client.head_object(Bucket=bucket, Key=key, VersionId=version)
        except (ClientError, BotoCoreError) as error:
            raise self._failed(f"look at {bucket}/{key}", error) from error
        written = head["LastModified"].astimezone(UTC)
        return lock.mode, written + timedelta(days=lock.days)

    def try_delete_locked(self, bucket: str, key: str, version: str) -> DeletionAttempt:
        """Try to delete a locked version, also bypassing governance: it must be refused.

        An answer that is no refusal (the store is down) raises: it proves nothing.
        """
        try:
            self._client.delete_object(
                Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True
            )
        except ClientError as error:
            if _code(error) in _LOCKED:
                # A refusal counts only if the version is still there.
                self.get(bucket, key, version)
                return DeletionAttempt(True, _code(error))
            raise self._failed(f"try a deletion of {bucket}/{key}", error) from error
        except BotoCoreError as error:
            raise self._failed(f"try a deletion of {bucket}/{key}", error) from error
        return DeletionAttempt(False, "")

    def _failed(self, what: str, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the object store {self.settings.url} did not {what}: {error}",
            "start it (program `objectstore`), or correct its keys (role `objectstore`)",
        )


def checksum(content: bytes) -> str:
    """Return the checksum that S3 takes for SHA-256.

    Given by its value it goes before the content; as an algorithm to use, behind it: then the
    client goes on sending what was refused, and finds the connection closed.
    """
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
