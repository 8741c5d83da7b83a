"""Collect facts of some kinds or of all, the independent collectors side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from orchestrator.collect.access_rights import collectors as access_rights
from orchestrator.collect.approle import collectors as approle
from orchestrator.collect.audit_log import collectors as audit_log
from orchestrator.collect.backup_archive import collectors as backup_archive
from orchestrator.collect.backup_repository import collectors as backup_repository
from orchestrator.collect.backup_settings import collectors as backup_settings
from orchestrator.collect.bucket_objects import collectors as bucket_objects
from orchestrator.collect.client_trust import collectors as client_trust
from orchestrator.collect.clock_offset import collectors as clock_offset
from orchestrator.collect.database_access import collectors as database_access
from orchestrator.collect.database_files import collectors as database_files
from orchestrator.collect.database_replication import collectors as database_replication
from orchestrator.collect.database_roles import collectors as database_roles
from orchestrator.collect.database_sessions import collectors as database_sessions
from orchestrator.collect.database_settings import collectors as database_settings
from orchestrator.collect.drill_history import collectors as drill_history
from orchestrator.collect.drill_schedule import collectors as drill_schedule
from orchestrator.collect.erp_access import collectors as erp_access
from orchestrator.collect.erp_accounts import collectors as erp_accounts
from orchestrator.collect.erp_settings import collectors as erp_settings
from orchestrator.collect.evidence_log import collectors as evidence_log
from orchestrator.collect.host_files import collectors as host_files
from orchestrator.collect.host_programs import collectors as host_programs
from orchestrator.collect.host_room import collectors as host_room
from orchestrator.collect.negative_probe import collectors as negative_probe
from orchestrator.collect.object_lock import collectors as object_lock
from orchestrator.collect.observe import Collector, observe
from orchestrator.collect.open_ports import collectors as open_ports
from orchestrator.collect.pki_role import collectors as pki_role
from orchestrator.collect.records import Records
from orchestrator.collect.secret_engine import collectors as secret_engine
from orchestrator.collect.secret_manager import collectors as secret_manager
from orchestrator.collect.secret_policies import collectors as secret_policies
from orchestrator.collect.stack_state import collectors as stack_state
from orchestrator.collect.static_credential import collectors as static_credential
from orchestrator.collect.store_access import collectors as store_access
from orchestrator.collect.tls_endpoint import collectors as tls_endpoint
from orchestrator.collect.transit_key import collectors as transit_key
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InputError
from orchestrator.model.fact import Fact

# They wait for servers, hardly ever for this processor.
_THREADS = 8

KINDS: Mapping[str, Callable[[Environment, Secrets], list[Collector]]] = {
    "tls_endpoint": tls_endpoint,
    "open_ports": open_ports,
    "client_trust": client_trust,
    "clock_offset": clock_offset,
    "database_access": database_access,
    "database_files": database_files,
    "database_replication": database_replication,
    "database_roles": database_roles,
    "database_sessions": database_sessions,
    "database_settings": database_settings,
    "erp_access": erp_access,
    "erp_accounts": erp_accounts,
    "erp_settings": erp_settings,
    "audit_log": audit_log,
    "backup_repository": backup_repository,
    "object_lock": object_lock,
    "approle": approle,
    "backup_archive": backup_archive,
    "backup_settings": backup_settings,
    "bucket_objects": bucket_objects,
    "host_files": host_files,
    "host_programs": host_programs,
    "host_room": host_room,
    "pki_role": pki_role,
    "secret_engine": secret_engine,
    "secret_manager": secret_manager,
    "secret_policies": secret_policies,
    "static_credential": static_credential,
    "store_access": store_access,
    "transit_key": transit_key,
    "negative_probe": negative_probe,
    "access_rights": access_rights,
}
"""Every kind of fact about the systems, and what makes its collectors for an environment."""

OF_RECORDS: Mapping[str, Callable[[Environment, Records], list[Collector]]] = {
    "drill_history": drill_history,
    "drill_schedule": drill_schedule,
    "evidence_log": evidence_log,
    "stack_state": stack_state,
}
"""The kinds about the orchestrator's own records (`fact_kinds.RECORD_KINDS`)."""


def collect_kinds(
    environment: Environment,
    secrets: Secrets,
    kinds: Iterable[str],
    records: Records | None = None,
) -> list[Fact]:
    """Return the facts of these kinds, one for each subject, in order of kind and subject.

    A system that cannot be asked gives a fact that says so. `records` are needed for the kinds
    about them. Raises InputError for a kind that does not exist.
    """
    return collected(collectors_of(environment, secrets, kinds, records))


def collect_wanted(
    environment: Environment, secrets: Secrets, wanted: Collection[tuple[str, str]]
) -> list[Fact]:
    """Return the facts of these kinds and subjects, in order; what nobody collects is left out."""
    collectors = collectors_of(environment, secrets, {kind for kind, _ in wanted})
    return collected(one for one in collectors if (one.kind, one.subject) in wanted)


def collectors_of(
    environment: Environment,
    secrets: Secrets,
    kinds: Iterable[str],
    records: Records | None = None,
) -> list[Collector]:
    """Return the collectors of these kinds. Raises InputError for a kind that does not exist."""
    collectors: list[Collector] = []
    for kind in dict.fromkeys(kinds):
        if kind in KINDS:
            collectors += KINDS[kind](environment, secrets)
        elif kind in OF_RECORDS and records is not None:
            collectors += OF_RECORDS[kind](environment, records)
        else:
            known = ", ".join(KINDS if records is None else (*KINDS, *OF_RECORDS))
            raise InputError(f"no kind of fact {kind!r}", f"the kinds are {known}")
    return collectors


def collected(collectors: Iterable[Collector]) -> list[Fact]:
    """Return what the collectors see, side by side, in order of kind and subject."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="collect") as pool:
        facts = list(pool.map(observe, collectors))
    return sorted(facts, key=lambda fact: (fact.kind, fact.subject))
