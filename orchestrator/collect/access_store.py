"""The rights in the object store of a site: its accounts, and what each may do with which bucket.

An account is known by its access key, which the secret manager holds among the store's keys: the
ones of this environment go by their purpose, another by the beginning of its key and a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from orchestrator.collect.access_read import Look
from orchestrator.collect.observe import secret_entry
from orchestrator.drivers.objectstore_accounts import StoreAccounts
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.access import Right, rights_of
from orchestrator.model.canonical import sha256
from orchestrator.model.environment import Environment, Site

_OPEN = {"*": "everybody", "all-users": "everybody"}


def look(environment: Environment, secrets: Secrets, site: Site) -> Look:
    """How the store of a site is asked."""
    return Look(
        subject=f"{site.name}/object_store",
        source=f"{site.name}/object_store at {site.object_store.url}, as its administrator",
        query="list-users, list-buckets; GetBucketAcl and GetBucketPolicy of each bucket",
        ask=partial(_ask, environment, secrets, site),
    )


def _ask(environment: Environment, secrets: Secrets, site: Site) -> tuple[list[Right], int]:
    keys = secret_entry(secrets, site.object_store.secret)
    store = StoreAccounts(environment, site, keys)
    accounts, grants = store.accounts(), store.grants()
    name = partial(_name, keys)
    rows = [("administrator", "service", "the store", "", "everything")]
    rows += [
        (name(access), "service", "the store", "", f"role {role}")
        for access, role in accounts.items()
    ]
    rows += [
        (name(one.account), "service", f"bucket {one.bucket}", one.via, one.may) for one in grants
    ]
    return rights_of(rows), len(rows)


def _name(keys: Mapping[str, str], access: str) -> str:
    known = {
        keys["root_access_key"]: "administrator",
        keys["access_key"]: "application",
        **_OPEN,
    }
    return known.get(access) or f"account {access[:4]}… ({sha256(access.encode())[:8]})"
