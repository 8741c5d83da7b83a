"""The PostgreSQL server of a machine: the superuser's sessions, and programs as its user."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import psycopg
from ansible.module_utils.anlan_supervisor import Supervisor
from psycopg import sql

Connection = psycopg.Connection[Any]
SUPERUSER = "postgres"
PROGRAM = "postgresql"
RESTART_TIMEOUT_SECONDS = 60.0


class CommandError(OSError):
    """A program of the server ended badly; the message holds the end of its output."""


def run_as(
    user: str,
    command: list[str],
    *,
    timeout_seconds: float,
    environment: dict[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> str:
    """Run a command as `user` (when root runs this) and return what it printed.

    The environment is PATH, HOME, LANG and `environment`, nothing of the caller's. Raises
    CommandError on another exit code than 0 or after `timeout_seconds`.
    """
    account = pwd.getpwnam(user)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0 and account.pw_uid != 0:
        identity = {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": os.getgrouplist(user, account.pw_gid),
        }
    try:
        done = subprocess.run(
            command,
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": account.pw_dir,
                "LANG": "C.UTF-8",
                **(environment or {}),
            },
            timeout=timeout_seconds,
            check=False,
            **identity,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{command[0]} did not end within {timeout_seconds:g} s") from error
    output = (done.stdout or b"").decode(errors="replace")
    if done.returncode != 0:
        said = (done.stderr.decode(errors="replace") or output).strip()[-1500:]
        raise CommandError(f"{command[0]} ended with {done.returncode}: {said}")
    return output


def connect(machine: str | Path, port: int, database: str = "postgres") -> Connection:
    """The superuser's session over the machine's unix socket, autocommit.

    Its statements are not audited and wait for no standby: it sets up, it is not the ERP. Raises
    psycopg.OperationalError when the server is down.
    """
    return psycopg.connect(
        host=str(Path(machine) / "run"),
        port=port,
        dbname=database,
        user=SUPERUSER,
        connect_timeout=5,
        application_name="anlan",
        options="-c synchronous_commit=local",
        autocommit=True,
    )


def scalar(connection: Connection, query: str, parameters: tuple[Any, ...] = ()) -> Any:
    """The first column of the first row, or None."""
    row = connection.execute(query, parameters).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


def in_recovery(connection: Connection) -> bool:
    """Whether the server is a standby now."""
    return bool(scalar(connection, "SELECT pg_is_in_recovery()"))


def only_visitors(connection: Connection, visitors: list[str]) -> list[tuple[str, sql.Composed]]:
    """What must be done so that only these roles and the owner may connect to its database.

    Each is (name of the action, statement). By default everybody may, and make temporary tables.
    """
    database = scalar(connection, "SELECT current_database()")
    everybody = scalar(
        connection,
        "SELECT count(*) FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        " WHERE datname = current_database() AND grantee = 0",
    )
    name, todo = sql.Identifier(database), []
    if everybody:
        revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name)
        todo.append((f"everybody's rights on {database}", revoke))
    for visitor in visitors:
        known = scalar(
            connection,
            "SELECT count(*) FROM pg_database, aclexplode(datacl) JOIN pg_roles r ON r.oid ="
            " grantee WHERE datname = current_database() AND privilege_type = 'CONNECT'"
            " AND rolname = %s",
            (visitor,),
        )
        if not known:
            grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
            todo.append((f"{database} for {visitor}", grant.format(name, sql.Identifier(visitor))))
    return todo


def holds_password(verifier: str | None, password: str) -> bool:
    """Whether a SCRAM-SHA-256 verifier of pg_authid belongs to `password` (RFC 5803, 7677)."""
    try:
        _, parameters, keys = (verifier or "").split("$")
        iterations, salt = parameters.split(":")
        stored = base64.b64decode(keys.split(":")[0])
    except ValueError:
        return False
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(salt), int(iterations)
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored)


def set_password(connection: Connection, role: str, password: str) -> None:
    """Give `role` a password; the server gets the verifier, so no log can hold the password."""
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    )


def wait_until_up(machine: str | Path, port: int, timeout_seconds: float) -> None:
    """Wait for a server that accepts sessions. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connect(machine, port).close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the server of {machine} takes no session: {error}; read "
                    f"{machine}/log/postgresql-*.log"
                ) from error
            time.sleep(0.1)


def restart(machine: str | Path, port: int) -> None:
    """Restart the server through the machine's supervisor and wait until it is up."""
    supervisor = Supervisor(Path(machine))
    supervisor.stop(PROGRAM)
    supervisor.start(PROGRAM)
    wait_until_up(machine, port, RESTART_TIMEOUT_SECONDS)
