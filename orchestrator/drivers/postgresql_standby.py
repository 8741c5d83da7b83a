"""Making a server a standby of the other site: rewind it, or copy it anew, then configure it.

pg_rewind and pg_basebackup replace what lies in the data directory, postgresql.auto.conf too, so
the standby's settings are written after them. The login data of `replicator` and `rewinder` are
in the site's passfile; each shows a client certificate of its own name.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.files import own, sync_directory, write_atomically
from orchestrator.drivers.host import MARKER
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.process import Finished
from orchestrator.model.environment import Site
from orchestrator.model.errors import InfrastructureError, Refused

_REWIND_ATTEMPTS_SECONDS = 15.0
_REWIND_TIMEOUT_SECONDS = 600.0
_COPY_TIMEOUT_SECONDS = 3600.0


# What a killed orchestrator may leave at work on a data directory.
_TOOLS = frozenset({"pg_rewind", "pg_basebackup", "pg_verifybackup", "postgres", "psql"})


@dataclass(frozen=True)
class Rejoin:
    """How a server became a standby: `method` is rewind or basebackup; wall time in seconds."""

    method: str
    seconds: float


def conninfo(server: PostgreSQL, source: Site, user: str, database: str | None = None) -> str:
    """The libpq string by which `server` reaches `source` as `user`, by the line: no password."""
    settings = server.settings
    line = server.environment.line.ends[source.name]
    certificate = settings.certificate_file.with_name(f"{user}.crt")
    key = settings.key_file.with_name(f"{user}.key")
    parts = {
        "host": source.database.address,  # whose name the certificate must have
        "hostaddr": line.address,
        "port": str(line.port),
        "user": user,
        "dbname": database,
        "application_name": settings.application_name,
        "sslmode": "verify-full",
        "sslrootcert": str(server.environment.tls.ca_file),
        "sslcert": str(certificate),
        "sslkey": str(key),
        "passfile": str(settings.passfile),
        "connect_timeout": "5",
        "keepalives_idle": "5",
    }
    return " ".join(f"{name}={_quoted(value)}" for name, value in parts.items() if value)


def configure_standby(server: PostgreSQL, primary: Site) -> None:
    """Write the settings that make the stopped `server` follow `primary` by its slot there.

    Raises Refused when the server runs, InfrastructureError when a file cannot be written.
    """
    _must_be_down(server)
    _write_settings(server, primary, server.settings.data_directory)
    with _file_errors(f"remove {fenced(server)}"):
        _clear_mark(fenced(server))


def _write_settings(
    server: PostgreSQL, primary: Site, data: Path, restore_command: str = ""
) -> None:
    """Make what is in `data` a standby of `primary`. Raises InfrastructureError."""
    user = server.site.machine.service_user
    lines = [
        "# Written by anlan when this server became a standby.",
        f"primary_conninfo = {_quoted(conninfo(server, primary, 'replicator'))}",
        f"primary_slot_name = {_quoted(server.settings.application_name)}",
        "recovery_target_timeline = 'latest'",
        # A promoted server must not wait for a dead peer: the list is set after the rejoin.
        "synchronous_standby_names = ''",
        # The slot keeps what it needs; asking a repository of a dead site delays a promotion.
        f"restore_command = {_quoted(restore_command)}",
    ]
    with _file_errors(f"configure {data} as a standby"):
        write_atomically(
            data / "postgresql.auto.conf", "\n".join(lines) + "\n", mode=0o600, owner=user
        )
        write_atomically(data / "standby.signal", "", mode=0o600, owner=user)


def rewind(server: PostgreSQL, token: int, source: Site) -> Rejoin:
    """Take the stopped, diverged `server` back to the history of `source` (pg_rewind).

    A rewind that was cut short leaves a directory that must be copied anew: a second pg_rewind
    would recover it by itself, on a history of its own, and call it well (seen). A mark beside the
    directory tells. Raises Refused without the lease or while the server runs,
    InfrastructureError when pg_rewind cannot do it (then copy it anew with `basebackup`). The
    server is left stopped, a standby.
    """
    server.lease.check(token)
    _must_be_down(server)
    settings, user = server.settings, server.site.machine.service_user
    mark = rewinding(settings.data_directory)
    if mark.exists():
        raise InfrastructureError(
            f"an earlier rewind of {settings.data_directory} was cut short",
            "copy it anew (pg_basebackup)",
        )
    arguments: list[str | Path] = [
        settings.bin_directory / "pg_rewind",
        f"--target-pgdata={settings.data_directory}",
        f"--source-server={conninfo(server, source, 'rewinder', 'postgres')}",
        f"--config-file={settings.config_file}",
    ]
    started = time.monotonic()
    # pg_rewind reads the timeline from the control file, which a fresh primary writes at its next
    # checkpoint; before that it would say "no rewind required" and leave a diverged server.
    server.machine.run(
        [
            settings.bin_directory / "psql",
            "--no-psqlrc",
            f"--dbname={conninfo(server, source, 'rewinder', 'postgres')}",
            "--command=CHECKPOINT",
        ],
        timeout_seconds=_REWIND_TIMEOUT_SECONDS,
        as_user=user,
    )
    _set_mark(mark)
    while True:
        try:
            server.machine.run(arguments, timeout_seconds=_REWIND_TIMEOUT_SECONDS, as_user=user)
            break
        except InfrastructureError as error:
            # A killed postmaster's children hold the directory for about a second.
            held = "postmaster.pid" in error.what or "shared memory block" in error.what
            if not held or time.monotonic() - started > _REWIND_ATTEMPTS_SECONDS:
                raise
            time.sleep(0.2)
    configure_standby(server, source)
    _clear_mark(mark)
    return Rejoin("rewind", time.monotonic() - started)


def basebackup(server: PostgreSQL, token: int, source: Site) -> Rejoin:
    """Replace the stopped server's data directory by a copy of `source` (pg_basebackup).

    The slot of the server must exist at `source`. Raises Refused without the lease or while the
    server runs, InfrastructureError when the copy fails (the old data directory is then kept).
    """
    server.lease.check(token)
    _must_be_down(server)
    settings, user = server.settings, server.site.machine.service_user
    data = settings.data_directory
    fresh, old = data.with_name(data.name + ".new"), data.with_name(data.name + ".old")
    started = time.monotonic()
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        own(fresh, user)
        server.machine.run(
            [
                settings.bin_directory / "pg_basebackup",
                f"--pgdata={fresh}",
                f"--dbname={conninfo(server, source, 'replicator')}",
                f"--slot={settings.application_name}",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--manifest-checksums=SHA256",
            ],
            timeout_seconds=_COPY_TIMEOUT_SECONDS,
            as_user=user,
        )
        server.machine.run(
            [settings.bin_directory / "pg_verifybackup", fresh],
            timeout_seconds=_COPY_TIMEOUT_SECONDS,
            as_user=user,
        )
        # After a crash between the two renames the next call begins with the copy again.
        shutil.rmtree(old, ignore_errors=True)
        if data.exists():
            data.rename(old)
        fresh.rename(data)
        shutil.rmtree(old)
    except OSError as error:
        raise InfrastructureError(
            f"cannot replace {data}: {error}", "make room or repair the file system, then repeat"
        ) from error
    configure_standby(server, source)
    _clear_mark(rewinding(data))
    return Rejoin("basebackup", time.monotonic() - started)


def restore_standby(
    server: PostgreSQL, token: int, primary: PostgreSQL, *, repository: int, timeout_seconds: float
) -> Finished | None:
    """Make the lost data directory of `server` from a backup, as a standby of `primary`.

    For a site whose machine is empty: it gets the pgBackRest file of the primary's site, with its
    own folders. Old WAL comes from the repository; what is newer the primary's slot keeps, which
    is made first. Returns how pgBackRest ended, None when the directory is there already. Raises
    Refused without the lease, InfrastructureError.
    """
    server.lease.check(token)
    data, user = server.settings.data_directory, server.site.machine.service_user
    server.machine.end_strays(_TOOLS | {"pgbackrest"})
    if data.exists():
        return None
    primary.create_slot(server.settings.application_name)
    mine, theirs = server.site.machine.directory, primary.site.machine.directory
    config, fresh = server.site.backup.config_file, data.with_name(f"{data.name}.new")
    pgbackrest = mine / "data" / "pgbackrest"
    folders = (pgbackrest, pgbackrest / "spool", pgbackrest / "lock", mine / "log" / "pgbackrest")
    with _file_errors(f"prepare the restore of {data}"):
        text = primary.site.backup.config_file.read_text().replace(f"{theirs}/", f"{mine}/")
        shutil.rmtree(fresh, ignore_errors=True)
        for folder in (*folders, fresh):
            folder.mkdir(mode=0o700, exist_ok=True)
            own(folder, user)
        write_atomically(config, text, mode=0o600, owner=user)
    tool = PgBackRest(server.environment, server.site)
    done = tool.restore(
        fresh,
        repository=repository,
        token=token,
        type_="standby",
        options=["--log-level-console=detail"],
        environment={MARKER: str(mine)},
        timeout_seconds=timeout_seconds,
    )
    stanza = f"--stanza={server.site.backup.stanza} --repo={repository}"
    fetch = f'pgbackrest --config={config} {stanza} archive-get %f "%p"'
    _write_settings(server, primary.site, fresh, fetch)
    with _file_errors(f"put the restored {data} in its place"):
        fresh.rename(data)
        sync_directory(data.parent)
        _clear_mark(fenced(server))
    return done


def rewinding(data_directory: Path) -> Path:
    """The mark beside a data directory whose rewind has begun and has not ended."""
    return data_directory.with_name(f"{data_directory.name}.rewinding")


def fenced(server: PostgreSQL) -> Path:
    """The mark beside the machine of a fenced primary: the other site was promoted.

    It outlives run, journal, reboot and the machine itself: nobody (topology, role `postgresql`)
    starts or makes the server as a primary while it is there. It goes when the server becomes a
    standby.
    """
    machine = server.site.machine.directory
    return machine.with_name(f"{machine.name}.fenced")


def mark_fenced(server: PostgreSQL) -> None:
    """Set the mark, on the disk when it returns. Raises InfrastructureError."""
    mark = fenced(server)
    with _file_errors(f"mark {mark} before the other site is promoted"):
        _set_mark(mark)


def _set_mark(mark: Path) -> None:
    mark.touch()
    sync_directory(mark.parent)


def _clear_mark(mark: Path) -> None:
    mark.unlink(missing_ok=True)
    sync_directory(mark.parent)


@contextmanager
def _file_errors(deed: str) -> Iterator[None]:
    """Raises InfrastructureError for an OSError within: `cannot {deed}`."""
    try:
        yield
    except OSError as error:
        raise InfrastructureError(f"cannot {deed}: {error}", "look at its file system") from error


def _must_be_down(server: PostgreSQL) -> None:
    settings = server.settings
    server.machine.end_strays(_TOOLS)
    running = server.machine.is_running() and server.machine.program_status(settings.program).is_up
    if running or server.role() is not Role.DOWN:
        raise Refused(
            f"the database of site {server.site.name} runs; its data directory is not touched",
            f"stop the program {settings.program} of that site first",
        )


def _quoted(value: str) -> str:
    """A value in single quotes, for libpq strings and postgresql.conf alike."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
