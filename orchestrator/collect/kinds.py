"""Collect facts of some kinds or of all, the independent collectors side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from orchestrator.collect.access_rights import collectors as access_rights
from orchestrator.collect.audit_log import collectors as audit_log
from orchestrator.collect.backup_repository import collectors as backup_repository
from orchestrator.collect.clock_offset import collectors as clock_offset
from orchestrator.collect.database_roles import collectors as database_roles
from orchestrator.collect.database_settings import collectors as database_settings
from orchestrator.collect.erp_access import collectors as erp_access
from orchestrator.collect.object_lock import collectors as object_lock
from orchestrator.collect.observe import Collector, observe
from orchestrator.collect.tls_endpoint import collectors as tls_endpoint
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InputError
from orchestrator.model.fact import Fact

# They wait for servers, hardly ever for this processor.
_THREADS = 8

KINDS: Mapping[str, Callable[[Environment, Secrets], list[Collector]]] = {
    "tls_endpoint": tls_endpoint,
    "clock_offset": clock_offset,
    "database_roles": database_roles,
    "database_settings": database_settings,
    "erp_access": erp_access,
    "audit_log": audit_log,
    "backup_repository": backup_repository,
    "object_lock": object_lock,
    "access_rights": access_rights,
}
"""Every kind of fact, and what makes its collectors for an environment."""


def collect(environment: Environment, secrets: Secrets) -> list[Fact]:
    """Return the facts of every kind, in order of kind and subject; never raises for a system."""
    return collect_kinds(environment, secrets, KINDS)


def collect_kinds(environment: Environment, secrets: Secrets, kinds: Iterable[str]) -> list[Fact]:
    """Return the facts of these kinds, one for each subject, in order of kind and subject.

    A system that cannot be asked gives a fact that says so. Raises InputError for a kind that
    does not exist.
    """
    collectors: list[Collector] = []
    for kind in dict.fromkeys(kinds):
        if kind not in KINDS:
            raise InputError(f"no kind of fact {kind!r}", f"the kinds are {', '.join(KINDS)}")
        collectors += KINDS[kind](environment, secrets)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="collect") as pool:
        facts = list(pool.map(observe, collectors))
    return sorted(facts, key=lambda fact: (fact.kind, fact.subject))
