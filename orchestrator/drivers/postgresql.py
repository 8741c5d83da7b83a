"""One PostgreSQL server of a site: who it is, how far its replication is, and its promotion."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psycopg
from psycopg import sql

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.fencing import FencingProof, require
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql_connection import (
    Connection,
    connect,
    connection_parameters,
    row,
    value,
)
from orchestrator.drivers.processes import ancestry, process_table
from orchestrator.drivers.supervisor import DOWN
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError, Refused

_LOCAL_TIMEOUT_SECONDS = 3
# The first 8 hexadecimal digits of a WAL file's name (PostgreSQL manual, "WAL Internals").
_CURRENT_TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
_POLL_SECONDS = 0.005
# The SSLRequest message (PostgreSQL protocol, "SSLRequest"): length 8, code 80877103.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Role(StrEnum):
    """What a server is now. `down`: it accepts no connection (stopped, or still starting)."""

    PRIMARY = "primary"
    STANDBY = "standby"
    DOWN = "down"


class Reach(StrEnum):
    """What a question from the network comes to. Refused: nobody listens, the machine says so.

    Unable: it answers that it cannot commit (it starts, stops, is read-only or has no room).
    """

    ANSWERS = "answers"
    UNABLE = "unable"
    REFUSED = "refused"
    SILENT = "silent"


@dataclass(frozen=True)
class Promotion:
    """A finished promotion; `already` when the server was a primary before."""

    site: str
    timeline: int
    lsn: str
    seconds: float
    already: bool


@dataclass(frozen=True)
class ReplicaStatus:
    """One standby as its primary sees it; its lags in bytes are None until it has reported.

    `lag_seconds` is its replay lag, None when idle; `heard_seconds` how long ago it reported.
    """

    application_name: str
    state: str
    sync_state: str
    flush_lag_bytes: int | None
    replay_lag_bytes: int | None
    lag_seconds: float | None
    heard_seconds: float | None


@dataclass(frozen=True)
class ReceiverStatus:
    """A standby as it sees itself. `replayed_until` is the commit time of the last replayed.

    `sender_port` is where it is connected to, 0 when it is not.
    """

    streaming: bool
    received_lsn: str
    replayed_lsn: str
    replay_lag_bytes: int
    replayed_until: datetime | None
    sender_port: int


def lsn_bytes(lsn: str) -> int:
    """A log sequence number, such as 0/16B3748, as a number of bytes; 0 for an empty text."""
    high, _, low = lsn.partition("/")
    return (int(high or "0", 16) << 32) + int(low or "0", 16)


def primaries(servers: Sequence[PostgreSQL]) -> tuple[str, ...]:
    """The sites whose server is a primary now: two of them is a split brain."""
    return tuple(server.site.name for server in servers if server.role() is Role.PRIMARY)


class PostgreSQL:
    """The server of one site. Verbs raise InfrastructureError when it does not answer."""

    def __init__(self, environment: Environment, site: Site) -> None:
        self.environment = environment
        self.site = site
        self.settings = site.database
        self.lease = LeaseFile(environment.lease_file)
        self.machine = Machine(site.machine, self.lease)

    def connect_local(
        self, database: str = "postgres", *, timeout_seconds: int = _LOCAL_TIMEOUT_SECONDS
    ) -> Connection:
        """Connect as the superuser by the unix socket (peer authentication), autocommit."""
        parameters = {
            "host": str(self.settings.socket_directory),
            "port": str(self.settings.port),
            "dbname": database,
            "user": "postgres",
            "connect_timeout": str(timeout_seconds),
            "application_name": "anlan",
        }
        return connect(parameters, f"the database of site {self.site.name}")

    def connect(self, credentials: Credentials, *, timeout_seconds: int = 3) -> Connection:
        """Connect to this server by TLS with its name verified, autocommit."""
        parameters = connection_parameters(
            self.environment,
            [self.site],
            credentials,
            read_write=False,
            timeout_seconds=timeout_seconds,
        )
        return connect(parameters, f"the database of site {self.site.name}")

    def role(self) -> Role:
        """What the server is now; never raises."""
        with contextlib.suppress(InfrastructureError, psycopg.Error):
            with self.connect_local() as connection:
                standby = bool(value(connection, "SELECT pg_is_in_recovery()"))
            return Role.STANDBY if standby else Role.PRIMARY
        return Role.DOWN

    def reach(self, timeout_seconds: float = 1.0) -> Reach:
        """Whether a server on the port answers that it speaks TLS; never raises.

        This asks from the network's side and logs in as nobody. A frozen server is silent: the
        kernel takes the connection for it.
        """
        try:
            with socket.create_connection(
                (self.settings.address, self.settings.port), timeout=timeout_seconds
            ) as link:
                link.sendall(_SSL_REQUEST)
                return Reach.ANSWERS if link.recv(1) == b"S" else Reach.SILENT
        except ConnectionRefusedError:
            return Reach.REFUSED
        except OSError:
            return Reach.SILENT

    def promote(
        self,
        token: int,
        proof: FencingProof,
        *,
        timeout_seconds: float = 30.0,
    ) -> Promotion:
        """Make this standby the primary, and return once it accepts writes.

        The list of synchronous standbys is emptied first: naming the dead peer it would make
        every commit wait. Raises Refused without the lease or without a proof that the other site
        is fenced; InfrastructureError when the server does not become a primary in time.
        """
        self.lease.check(token)
        require(proof, self.environment.peer(self.site.name).name)
        started = time.monotonic()
        self._stop_asking_the_archive()
        with self._session() as connection:
            already = not value(connection, "SELECT pg_is_in_recovery()")
            if not already:
                if value(connection, "SHOW synchronous_standby_names"):
                    self._set(connection, "synchronous_standby_names", "")
                # pg_promote's own wait looks ten times a second; this looks every 5 ms.
                connection.execute("SELECT pg_promote(false)")
                deadline = started + timeout_seconds
                while value(connection, "SELECT pg_is_in_recovery()"):
                    if time.monotonic() > deadline:
                        raise InfrastructureError(
                            f"site {self.site.name} is still a standby {timeout_seconds:g} s "
                            "after its promotion began",
                            f"read {self.settings.logs}: it may wait for WAL to replay",
                        )
                    time.sleep(_POLL_SECONDS)
            seconds = time.monotonic() - started
            timeline, lsn = row(
                connection,
                f"SELECT {_CURRENT_TIMELINE}, pg_current_wal_lsn()::text",
            )
        return Promotion(self.site.name, int(timeline), str(lsn), seconds, already)

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """The standbys that stream from this primary now (pg_stat_replication)."""
        with self._session() as connection:
            rows = connection.execute(
                "SELECT application_name, state, sync_state,"
                " pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint,"
                " pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint,"
                " extract(epoch FROM replay_lag)::float8,"
                " extract(epoch FROM clock_timestamp() - reply_time)::float8"
                " FROM pg_stat_replication WHERE application_name = ANY(%s)"
                " ORDER BY application_name",
                ([site.database.application_name for site in self.environment.sites.values()],),
            ).fetchall()
        return tuple(ReplicaStatus(*row) for row in rows)

    def receiver(self) -> ReceiverStatus:
        """How far this standby is (pg_stat_wal_receiver)."""
        with self._session() as connection:
            found = row(
                connection,
                "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),"
                " pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text,"
                " pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint,"
                " pg_last_xact_replay_timestamp(),"
                " coalesce((SELECT sender_port FROM pg_stat_wal_receiver), 0)",
            )
        return ReceiverStatus(
            bool(found[0]), found[1] or "", found[2] or "", int(found[3] or 0), *found[4:]
        )

    def await_streaming(self, standby: str, *, timeout_seconds: float = 30.0) -> ReplicaStatus:
        """Wait until the standby with this application name streams from here."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            for status in self.replicas():
                if status.application_name == standby and status.state == "streaming":
                    return status
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{standby} does not stream from site {self.site.name} after "
                    f"{timeout_seconds:g} s",
                    f"read the standby's PostgreSQL log, and {self.settings.logs}",
                )
            time.sleep(0.02)

    def synchronous_names(self) -> str:
        """The value of synchronous_standby_names now."""
        with self._session() as connection:
            return str(value(connection, "SHOW synchronous_standby_names"))

    def set_synchronous(self, names: Sequence[str]) -> None:
        """Make commits wait for the first of these standbys; with none, for nobody."""
        wish = f"FIRST 1 ({', '.join(names)})" if names else ""
        with self._session() as connection:
            self._set(connection, "synchronous_standby_names", wish)

    def create_slot(self, name: str) -> None:
        """Create a physical replication slot that keeps WAL from now on, unless it is there."""
        with self._session() as connection:
            connection.execute(
                "SELECT pg_create_physical_replication_slot(%s, true) WHERE NOT EXISTS"
                " (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
                (name, name),
            )

    def drop_slot(self, name: str) -> None:
        """Drop a slot, if it is there. Raises Refused while a standby uses it."""
        with self._session() as connection:
            active = connection.execute(
                "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (name,)
            ).fetchone()
            if active and active[0]:
                raise Refused(
                    f"slot {name} of site {self.site.name} is in use",
                    "stop the standby that streams from it first",
                )
            if active:
                connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))

    def slots(self) -> dict[str, bool]:
        """The physical slots of this server, and whether each is in use."""
        with self._session() as connection:
            rows = connection.execute(
                "SELECT slot_name::text, active FROM pg_replication_slots"
                " WHERE slot_type = 'physical'"
            ).fetchall()
        return {str(name): bool(active) for name, active in rows}

    def checkpoint(self) -> None:
        """Write all dirty pages now (a restart point on a standby)."""
        with self._session() as connection:
            connection.execute("CHECKPOINT")

    def switch_wal(self) -> str:
        """Close the WAL segment in use so that it is archived; returns its last LSN."""
        with self._session() as connection:
            return str(value(connection, "SELECT pg_switch_wal()::text"))

    def current_lsn(self) -> str:
        """The last written LSN of a primary, the last replayed one of a standby."""
        with self._session() as connection:
            return str(
                value(
                    connection,
                    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                    " ELSE pg_current_wal_lsn() END::text",
                )
            )

    def timeline(self) -> int:
        """The timeline of a primary, or the one that a standby receives (else restarts from)."""
        with self._session() as connection:
            if value(connection, "SELECT pg_is_in_recovery()"):
                query = (
                    "SELECT coalesce((SELECT received_tli FROM pg_stat_wal_receiver),"
                    " (SELECT timeline_id FROM pg_control_checkpoint()))"
                )
            else:
                query = f"SELECT {_CURRENT_TIMELINE}"
            return int(value(connection, query))

    def start(self, *, timeout_seconds: float = 60.0) -> Role:
        """Start the server's program and wait until it accepts connections; returns its role."""
        self.machine.program_start(self.settings.program)
        deadline = time.monotonic() + timeout_seconds
        while (role := self.role()) is Role.DOWN:
            status = self.machine.program_status(self.settings.program)
            # BACKOFF: a killed server's processes still hold its memory, and it is tried again.
            if status.state in DOWN or time.monotonic() > deadline:
                raise InfrastructureError(
                    f"the database of site {self.site.name} does not accept connections: its "
                    f"program is {status.state}",
                    f"read {self.settings.logs}",
                )
            time.sleep(0.02)
        return role

    def stop(self, *, timeout_seconds: float = 60.0) -> None:
        """Stop the server's program and wait for its end (a clean, "fast" shutdown)."""
        self.machine.program_stop(self.settings.program, timeout_seconds=timeout_seconds)

    @contextlib.contextmanager
    def _session(self) -> Iterator[Connection]:
        try:
            with self.connect_local() as connection:
                yield connection
        except psycopg.Error as error:
            raise InfrastructureError(
                f"the database of site {self.site.name} refused a command: {error}",
                f"read {self.settings.logs}",
            ) from error

    def _set(self, connection: Connection, name: str, wish: str) -> None:
        """ALTER SYSTEM, and wait until this session sees the value."""
        statement = sql.SQL("ALTER SYSTEM SET {} = {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(wish)))
        connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 5.0
        while value(connection, f"SHOW {name}") != wish:
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"site {self.site.name} did not take {name} = {wish!r}",
                    f"read {self.settings.logs}",
                )
            time.sleep(_POLL_SECONDS)

    def _stop_asking_the_archive(self) -> None:
        """Empty a standby's restore_command, which only `restore_standby` sets.

        If recovery is waiting for an archive-get already, the server is restarted: pgBackRest 2.45
        waits minutes for the repository of a dead site, recovery waits for it, and a signal to it
        would bring the server down (seen).
        """
        with self._session() as connection:
            if not value(connection, "SHOW restore_command"):
                return
            self._set(connection, "restore_command", "")
            if not value(connection, "SELECT pg_is_in_recovery()"):
                return
        if self._is_asking_the_archive():
            self.stop()
            self.start()

    def _is_asking_the_archive(self) -> bool:
        table = process_table()
        server = self.machine.program_status(self.settings.program).pid
        return any(
            entry.command == "pgbackrest" and server in ancestry(entry.pid, table)
            for entry in table.values()
        )
