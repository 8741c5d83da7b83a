"""What there is of an environment, part by part: the same before a drill and after it.

What a drill is for (the database's rows, backups, WAL, logs) is not counted; what it may have
made on the way is: programs, files, slots, roles, databases, settings, objects, accounts of the
secret manager, network namespaces and interfaces.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from stacks.components.ground import processes

_QUERIES = {
    "roles": "SELECT rolname, rolsuper, rolcanlogin, rolreplication FROM pg_roles",
    "databases": "SELECT datname FROM pg_database",
    "slots": "SELECT slot_name, slot_type, active FROM pg_replication_slots",
    "schemas": "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
    # A primary that was a standby keeps, unused, what it followed by.
    "settings": "SELECT name, setting FROM pg_file_settings WHERE applied AND name NOT IN"
    " ('primary_conninfo', 'primary_slot_name', 'restore_command', 'recovery_target_timeline')",
    "ledger": "SELECT count(*) FROM anlan.ledger",
}

# The repository itself, and the snapshots of the secret manager that a backup takes.
_KEPT = {"erp", "secrets"}

Census = dict[str, object]
"""Part → what is there of it, in an order that does not change by itself."""


def census(environment: Environment) -> Census:
    """Look at everything. Raises what the servers raise: all must be up."""
    found: Census = {"programs": _programs(environment.root), "files": _files(environment.root)}
    for kind in ("netns", "link"):
        listed = subprocess.run(["ip", "-o", kind], capture_output=True, text=True, check=True)
        found[f"ip {kind}"] = sorted(re.findall(r"^(?:\d+: )?(anlan\S*)", listed.stdout, re.M))
    secrets = Secrets(environment)
    for name, site in environment.sites.items():
        found |= {f"{name}: {part}": rows for part, rows in _database(environment, site).items()}
        store = ObjectStore(environment, site, secrets.kv(site.object_store.secret))
        keys = [one.key for one in store.versions(site.object_store.buckets["backup"])]
        found[f"{name}: backups"] = sorted({key.split("/")[0] for key in keys} - _KEPT)
    return found


def assert_nothing_is_left(environment: Environment, before: Census) -> None:
    """Fails with the parts that are not as they were."""
    now = census(environment)
    changed = {part: _changes(before[part], now[part]) for part in before}
    left = {part: change for part, change in changed.items() if change}
    assert not left, left


def _changes(before: object, now: object) -> str:
    """What is gone and what is new, in words; empty if nothing."""
    if before == now:
        return ""
    was, there = (
        list(map(str, part)) if isinstance(part, list) else [str(part)] for part in (before, now)
    )
    gone, new = [one for one in was if one not in there], [one for one in there if one not in was]
    return f"gone {gone}, new {new}" if gone or new else f"{len(was)} before, {len(there)} now"


def _programs(root: Path) -> dict[str, int]:
    """Programs of the machines, by name; a server's own children are its affair."""
    mine = {process.pid: process for process in processes(root)}
    names: Counter[str] = Counter()
    for one in mine.values():
        with suppress(psutil.NoSuchProcess):
            if (one.ppid() not in mine or _is_supervised(one)) and not _is_archiver(one):
                names[re.sub(r"^python.*", "python", one.name())] += 1
    return dict(sorted(names.items()))


def _is_archiver(process: psutil.Process) -> bool:
    """Whether it is pgBackRest's own helper, which comes with WAL and goes after it."""
    return any(word.startswith("archive-push") for word in process.cmdline())


def _is_supervised(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and any("supervisord" in word for word in parent.cmdline())


def _files(root: Path) -> list[str]:
    """Every file but data, logs, evidence and what is named anew at each start."""
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if (len(parts) > 2 and parts[1] in {"data", "log"}) or parts == ("twins",):
            continue
        found.append(re.sub(r"\d{4,}", "N", "/".join(parts)))
    # The secret manager's plugin has one when it was needed since the start, and never a second.
    sockets = [one for one in found if one.endswith("/pluginN")]
    return [one for one in found if one not in sockets] + sockets[1:]


def _database(environment: Environment, site: Site) -> dict[str, list[object]]:
    with PostgreSQL(environment, site).connect_local(site.database.name) as connection:
        return {
            part: sorted(connection.execute(query.encode()).fetchall(), key=str)
            for part, query in _QUERIES.items()
        }
