"""Kind `backup_repository`: what the repository at each site holds, read by that site's pgBackRest.

Data: `repository` (pgBackRest's number), `place` (host:port of its store), `cipher` (the type with
which its files were just decrypted), `status_code` (0: good) and `status`, `backups` (count),
`newest_backup` (label), `newest_backup_at`, `newest_full_at`, `failed_backups` (labels with
errors); `wal_oldest`, `wal_newest` (segment names); and of the primary's archiver
`wal_waiting_segments` and `wal_oldest_waiting_seconds` (null when no site is primary).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from orchestrator.collect.handshake import endpoint_of, reach
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_connection import row
from orchestrator.drivers.process import run
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import timestamp

KIND = "backup_repository"
# A store that hangs holds pgBackRest for its io-timeout, several times over.
_INFO_SECONDS = 60.0
# A segment is .ready until every repository has it.
_WAITING = (
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(modification)), 0)::float8"
    " FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
)
_PLACE = re.compile(r"^repo(\d+)-(storage-host|s3-endpoint|storage-port)\s*=\s*(\S+)", re.MULTILINE)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's repository; the secret manager is not needed."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/backup_repository",
            source=f"pgBackRest of site {name} as {site.machine.service_user}, "
            f"{site.backup.config_file}; the primary as postgres by the local socket",
            query=f"pgbackrest --stanza={site.backup.stanza} --repo=N --output=json info; "
            f"{_WAITING}",
            look=partial(look, environment, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, site: Site) -> Observation:
    """Ask about the repository whose store is at this site. Raises InfrastructureError, OSError."""
    # pgBackRest would try for a minute where nobody listens.
    reach(endpoint_of(site.object_store.url))
    number, place = repository_of(site)
    info = _info(site, number)
    (repository,) = [entry for entry in info.get("repo", []) if entry["key"] == number]
    backups = [entry for entry in info.get("backup", []) if entry["database"]["repo-key"] == number]
    archives = [
        entry for entry in info.get("archive", []) if entry["database"]["repo-key"] == number
    ]
    finished = sorted(
        (backup for backup in backups if not backup.get("error")),
        key=lambda backup: backup["timestamp"]["stop"],
    )
    newest = archives[-1] if archives else {}
    data: dict[str, Any] = {
        "repository": number,
        "place": place,
        "cipher": repository["cipher"],
        "status_code": repository["status"]["code"],
        "status": repository["status"]["message"],
        "backups": len(backups),
        "newest_backup": finished[-1]["label"] if finished else "",
        "newest_backup_at": _stopped(finished),
        "newest_full_at": _stopped([backup for backup in finished if backup["type"] == "full"]),
        "failed_backups": [backup["label"] for backup in backups if backup.get("error")],
        "wal_oldest": newest.get("min") or "",
        "wal_newest": newest.get("max") or "",
        **_waiting(environment),
    }
    return Observation(data, len(backups) + len(archives))


def repository_of(site: Site) -> tuple[int, str]:
    """Number and place of the repository at this site's own store, by its pgBackRest's file."""
    place = urlsplit(site.object_store.url).netloc
    repositories: dict[str, dict[str, str]] = {}
    # Of this file, which holds the keys, three settings are looked at.
    for number, name, text in _PLACE.findall(site.backup.config_file.read_text()):
        repositories.setdefault(number, {})[name] = text
    for number, found in repositories.items():
        host = found.get("storage-host", found.get("s3-endpoint", ""))
        if f"{host}:{found.get('storage-port', '443')}" == place:
            return int(number), place
    raise InfrastructureError(
        f"no repository of {site.backup.config_file} is at {place}", "apply the role `pgbackrest`"
    )


def _info(site: Site, number: int) -> dict[str, Any]:
    finished = run(
        [
            "pgbackrest",
            f"--config={site.backup.config_file}",
            f"--stanza={site.backup.stanza}",
            f"--repo={number}",
            "--output=json",
            "info",
        ],
        timeout_seconds=_INFO_SECONDS,
        as_user=site.machine.service_user,
    )
    found = json.loads(finished.output)
    if not found:
        raise InfrastructureError(f"pgBackRest knows no stanza {site.backup.stanza}")
    return dict(found[0])


def _stopped(backups: list[dict[str, Any]]) -> str | None:
    if not backups:
        return None
    return timestamp(datetime.fromtimestamp(backups[-1]["timestamp"]["stop"], UTC))


def _waiting(environment: Environment) -> dict[str, Any]:
    """How many WAL segments the primary has not archived yet, and since when."""
    for site in environment.sites.values():
        server = PostgreSQL(environment, site)
        if server.role() is Role.PRIMARY:
            with server.connect_local() as connection:
                count, seconds = row(connection, _WAITING)
            return {
                "wal_waiting_segments": int(count),
                "wal_oldest_waiting_seconds": round(seconds, 1),
            }
    return {"wal_waiting_segments": None, "wal_oldest_waiting_seconds": None}
