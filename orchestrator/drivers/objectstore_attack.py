"""What an attacker with the database's own keys can try against an object store.

Each act is a real request, and what came of it is returned, never raised: a refusal is the good
news. Acts that the store may grant (to overwrite, to hide) are meant for a copy alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.objectstore import ObjectStore, ObjectVersion, checksum
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.model.environment import Environment, Site

_GARBAGE_BYTES = 4096


@dataclass(frozen=True)
class Attempt:
    """An act, what it was aimed at, and the error code of the store; empty: it was granted."""

    act: str
    target: str
    code: str

    @property
    def refused(self) -> bool:
        """Whether the store said no."""
        return bool(self.code)


class Attacker(ObjectStore):
    """Holds the keys that the database's machine `machine` has for one repository.

    Needs the lease's `token`. Raises Refused without it.
    """

    def __init__(
        self, environment: Environment, site: Site, machine: Site, repository: int, token: int
    ) -> None:
        LeaseFile(environment.lease_file).check(token)
        super().__init__(environment, site, PgBackRest(environment, machine).store_keys(repository))

    def delete(self, bucket: str, version: ObjectVersion) -> Attempt:
        """Delete one version for good, past governance."""
        return self._try(
            "delete a locked version",
            version.key,
            lambda: self._client.delete_object(
                Bucket=bucket,
                Key=version.key,
                VersionId=version.version,
                BypassGovernanceRetention=True,
            ),
        )

    def shorten(self, bucket: str, version: ObjectVersion) -> Attempt:
        """Let the retention of one version end at once."""
        soon = datetime.now(UTC) + timedelta(seconds=2)
        return self._retain("shorten a retention", bucket, version, "COMPLIANCE", soon)

    def downgrade(self, bucket: str, version: ObjectVersion, until: datetime) -> Attempt:
        """Turn the retention of one version into one that can be bypassed."""
        return self._retain("downgrade to governance", bucket, version, "GOVERNANCE", until)

    def suspend_versioning(self, bucket: str) -> Attempt:
        """Make the next overwrite a real one; if that is granted, it is taken back at once."""
        set_versioning = partial(self._client.put_bucket_versioning, Bucket=bucket)
        done = self._try(
            "suspend versioning",
            bucket,
            lambda: set_versioning(VersioningConfiguration={"Status": "Suspended"}),
        )
        if not done.refused:
            set_versioning(VersioningConfiguration={"Status": "Enabled"})
        return done

    def remove_bucket(self, bucket: str) -> Attempt:
        """Remove the bucket with all that is in it."""
        return self._try(
            "remove the bucket", bucket, lambda: self._client.delete_bucket(Bucket=bucket)
        )

    def set_default_lock(self, bucket: str) -> Attempt:
        """Set the bucket's lock for new objects, to what it is: is the right there?"""
        now = self.lock_settings(bucket)
        return self._try(
            "set the bucket's lock for new objects",
            bucket,
            lambda: self._client.put_object_lock_configuration(
                Bucket=bucket,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": now.mode, "Days": now.days}},  # type: ignore[typeddict-item]
                },
            ),
        )

    def overwrite(self, bucket: str, key: str, until: datetime) -> Attempt:
        """Put garbage over an object, locked until then so that nobody can take it away."""
        garbage = os.urandom(_GARBAGE_BYTES)
        return self._try(
            "overwrite with garbage",
            key,
            lambda: self._client.put_object(
                Bucket=bucket,
                Key=key,
                Body=garbage,
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
                ChecksumSHA256=checksum(garbage),
            ),
        )

    def hide(self, bucket: str, key: str) -> Attempt:
        """Put a delete marker over an object."""
        return self._try(
            "hide by a delete marker",
            key,
            lambda: self._client.delete_object(Bucket=bucket, Key=key),
        )

    def _retain(
        self, act: str, bucket: str, version: ObjectVersion, mode: Any, until: datetime
    ) -> Attempt:
        return self._try(
            act,
            version.key,
            lambda: self._client.put_object_retention(
                Bucket=bucket,
                Key=version.key,
                VersionId=version.version,
                Retention={"Mode": mode, "RetainUntilDate": until},
                BypassGovernanceRetention=True,
            ),
        )

    def _try(self, act: str, target: str, request: Callable[[], Any]) -> Attempt:
        """Do it. Raises InfrastructureError for what is no answer of the store's."""
        try:
            request()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if not code or not 400 <= status < 500:
                raise self._failed(f"answer to: {act} ({target})", error) from error
            return Attempt(act, target, code)
        except BotoCoreError as error:
            raise self._failed(f"answer to: {act} ({target})", error) from error
        return Attempt(act, target, "")
