#!/usr/bin/python
"""The application user and the locked buckets of an S3 store (versitygw).

Every bucket has Object Lock with a default COMPLIANCE retention and belongs to the user. Nothing
is ever deleted; a retention is only made longer by a deliberate change of `lock_days`.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from typing import Any

import boto3
import requests
from ansible.module_utils.basic import AnsibleModule
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "admin_url": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "region": {"type": "str", "required": True},
    "keys": {"type": "dict", "required": True, "no_log": True},
    "buckets": {"type": "list", "elements": "dict", "required": True},
}
TIMEOUT_SECONDS = 15


class Refused(Exception):
    """The store refused an administrator's request."""


class Store:
    """One store, seen by its administrator and by the application user."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.keys: dict[str, str] = parameters["keys"]
        self.session = requests.Session()
        self.session.trust_env = False

    def admin(self, path: str, fields: dict[str, Any] | None = None) -> ET.Element | None:
        """A signed request of the gateway's own admin API (the secret goes in the body)."""
        body = b""
        if fields:
            root = ET.Element("Account" if path == "create-user" else "MutableProps")
            for name, value in fields.items():
                ET.SubElement(root, name).text = str(value)
            body = ET.tostring(root)
        digest = hashlib.sha256(body).hexdigest()
        request = AWSRequest(
            "PATCH",
            f"{self.parameters['admin_url']}/{path}",
            data=body,
            headers={"X-Amz-Content-Sha256": digest},
        )
        credentials = Credentials(self.keys["root_access_key"], self.keys["root_secret_key"])
        SigV4Auth(credentials, "s3", self.parameters["region"]).add_auth(request)
        answer = self.session.request(
            "PATCH",
            request.url,
            data=body,
            headers=dict(request.headers),
            verify=self.parameters["ca_file"],
            timeout=TIMEOUT_SECONDS,
        )
        if answer.status_code >= 300:
            raise Refused(f"{path.partition('?')[0]}: {answer.status_code} {answer.text[:300]}")
        return ET.fromstring(answer.content) if answer.content.strip() else None

    def client(self, prefix: str = "root_") -> Any:
        """An S3 client of the administrator, or of the application user (prefix '')."""
        return boto3.client(
            "s3",
            endpoint_url=self.parameters["url"],
            region_name=self.parameters["region"],
            aws_access_key_id=self.keys[f"{prefix}access_key"],
            aws_secret_access_key=self.keys[f"{prefix}secret_key"],
            verify=self.parameters["ca_file"],
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
                retries={"max_attempts": 2},
                connect_timeout=5,
                read_timeout=TIMEOUT_SECONDS,
                proxies={},
            ),
        )

    def user_needs(self) -> str:
        """'create-user' when there is none, 'update-user' when its secret differs, else ''."""
        listed = self.admin("list-users")
        known = {item.text for item in listed.iter("Access")} if listed is not None else set()
        if self.keys["access_key"] not in known:
            return "create-user"
        try:
            self.client("").list_buckets()
        except ClientError as error:
            if error.response["Error"]["Code"] != "SignatureDoesNotMatch":
                raise
            return "update-user"
        return ""

    def set_user(self, need: str) -> None:
        """Make the user, or give it its secret again; it may use its buckets and make none."""
        access, secret = self.keys["access_key"], self.keys["secret_key"]
        fields = {"Secret": secret, "Role": "user"}
        if need == "create-user":
            zero = {"UserID": 0, "GroupID": 0, "ProjectID": 0}
            self.admin(need, {"Access": access, **fields, **zero})
        else:
            self.admin(f"{need}?access={access}", fields)

    def owners(self) -> dict[str, str]:
        """Every bucket's owner."""
        listed = self.admin("list-buckets")
        found = {}
        for item in listed.iter() if listed is not None else []:
            name, owner = item.find("Name"), item.find("Owner")
            if name is not None and owner is not None:
                found[str(name.text)] = str(owner.text)
        return found

    def locked_days(self, name: str) -> int:
        """Days of default COMPLIANCE retention of a bucket; 0 when it has none."""
        try:
            found = self.client().get_object_lock_configuration(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ObjectLockConfigurationNotFoundError":
                return 0
            raise
        rule = found["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
        return int(rule.get("Days") or 0) if rule.get("Mode") == "COMPLIANCE" else 0

    def lock(self, name: str, days: int) -> None:
        """Set the default retention of a bucket."""
        self.client().put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}},
            },
        )

    def make(self, check: bool) -> list[str]:
        """Bring user and buckets into order; returns what differed."""
        actions = []
        if need := self.user_needs():
            actions.append(need)
            if not check:
                self.set_user(need)
        owners = self.owners()
        for bucket in self.parameters["buckets"]:
            name, days = str(bucket["name"]), int(bucket["lock_days"])
            if name not in owners:
                actions.append(f"bucket {name}")
                if not check:
                    self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
            if name not in owners or self.locked_days(name) != days:
                actions.append(f"lock of {name}")
                if not check:
                    self.lock(name, days)
            if owners.get(name) != self.keys["access_key"]:
                actions.append(f"owner of {name}")
                if not check:
                    owner = self.keys["access_key"]
                    self.admin(f"change-bucket-owner?bucket={name}&owner={owner}")
        return actions


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    try:
        actions = Store(module.params).make(module.check_mode)
    except (requests.RequestException, BotoCoreError, ClientError, Refused) as error:
        if module.check_mode:  # not there yet, or down: both differ from the wish
            module.exit_json(changed=True, actions=[f"does not answer: {error}"])
        module.fail_json(msg=f"object store {module.params['url']}: {error}")
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
