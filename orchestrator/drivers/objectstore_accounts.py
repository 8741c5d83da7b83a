"""The accounts of a site's S3 store (versitygw) and what each may do, as its administrator sees it.

The administration of versitygw is an API of its own, at the descriptor's `admin_url`: requests of
method PATCH, signed as for S3, answered in XML.
"""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_TIMEOUT_SECONDS = 15
_NO_POLICY = "NoSuchBucketPolicy"


@dataclass(frozen=True)
class Grant:
    """What an account (its access key, or `*`) may do with a bucket, and by what."""

    account: str
    bucket: str
    via: str
    may: str


class StoreAccounts:
    """The accounts of one site's store. Verbs raise InfrastructureError."""

    def __init__(self, environment: Environment, site: Site, keys: Mapping[str, str]) -> None:
        self.settings = site.object_store
        self._keys, self._ca_file = keys, str(environment.tls.ca_file)
        self._session = requests.Session()
        self._session.trust_env = False
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.settings.url,
            region_name=self.settings.region,
            aws_access_key_id=keys["root_access_key"],
            aws_secret_access_key=keys["root_secret_key"],
            verify=self._ca_file,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=_TIMEOUT_SECONDS,
                retries={"max_attempts": 2},
                proxies={},
            ),
        )

    def accounts(self) -> dict[str, str]:
        """Access key to role (admin, userplus, user) of each account but the administrator's."""
        found = {}
        for item in self._admin("list-users").iter():
            access, role = item.find("Access"), item.find("Role")
            if access is not None and role is not None:
                found[str(access.text)] = str(role.text)
        return found

    def grants(self) -> list[Grant]:
        """The owner, access list and policy of every bucket."""
        found = []
        for item in self._admin("list-buckets").iter():
            name, owner = item.find("Name"), item.find("Owner")
            if name is not None and owner is not None:
                bucket = str(name.text)
                found.append(Grant(str(owner.text), bucket, "", "everything, as owner"))
                found += self._listed(bucket) + self._policy(bucket)
        return found

    def _listed(self, bucket: str) -> list[Grant]:
        answer = self._ask(
            f"read the access list of {bucket}", lambda: self._client.get_bucket_acl(Bucket=bucket)
        )
        return [
            Grant(
                str(grant["Grantee"].get("ID") or grant["Grantee"].get("URI") or "*"),
                bucket,
                "access list",
                str(grant["Permission"]),
            )
            for grant in answer.get("Grants", [])
        ]

    def _policy(self, bucket: str) -> list[Grant]:
        def read() -> Any:
            try:
                return self._client.get_bucket_policy(Bucket=bucket)
            except ClientError as error:
                if error.response["Error"]["Code"] == _NO_POLICY:
                    return {"Policy": '{"Statement": []}'}
                raise

        text = self._ask(f"read the policy of {bucket}", read)["Policy"]
        return [
            Grant(account, bucket, "bucket policy", f"{rule['Effect']} {action}")
            for rule in _list(json.loads(text)["Statement"])
            for account in _accounts(rule.get("Principal", "*"))
            for action in _list(rule["Action"])
        ]

    def _admin(self, path: str) -> ET.Element:
        if not self.settings.admin_url:
            raise InfrastructureError(
                "the descriptor does not say where the store's accounts are administered",
                "`anlan up` writes a descriptor that does",
            )
        request = AWSRequest(
            "PATCH",
            f"{self.settings.admin_url}/{path}",
            data=b"",
            headers={"X-Amz-Content-Sha256": hashlib.sha256(b"").hexdigest()},
        )
        credentials = Credentials(self._keys["root_access_key"], self._keys["root_secret_key"])
        SigV4Auth(credentials, "s3", self.settings.region).add_auth(request)

        def send() -> bytes:
            answer = self._session.request(
                "PATCH",
                str(request.url),
                data=b"",
                headers=dict(request.headers),
                verify=self._ca_file,
                timeout=_TIMEOUT_SECONDS,
            )
            answer.raise_for_status()
            return answer.content

        try:
            return ET.fromstring(self._ask(path, send))  # noqa: S314  (our own server's)
        except ET.ParseError as error:
            raise self._failed(path, error) from error

    def _ask(self, what: str, verb: Any) -> Any:
        try:
            return verb()
        except (ClientError, BotoCoreError, requests.RequestException) as error:
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the object store at {self.settings.url} did not {what}: {error}",
            "start it, or apply the role `objectstore`",
        )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _accounts(principal: Any) -> list[str]:
    """The principals of a policy's statement: `*`, a list, or `{AWS: …}`."""
    if isinstance(principal, Mapping):
        return [str(one) for value in principal.values() for one in _list(value)]
    return [str(one) for one in _list(principal)]
