"""Probes of the ERP: logins that must fail, and a user who overreaches."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.collect.observe import database_login, secret_entry
from orchestrator.collect.probe import Probe, Tried
from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp, ErpError
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.process import run
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

_VERIFY = (
    "import sys; from pwdlib import PasswordHash;"
    "print(PasswordHash.recommended().verify(sys.argv[1], sys.stdin.read()))"
)
_VERIFY_SECONDS = 20.0
_LOG_SECONDS = 3.0
_ADMINISTRATOR, _GUESS = "admin", "admin"
_REFUSED_STATUS = frozenset({"401", "403"})


def probes(environment: Environment, secrets: Secrets) -> list[Probe]:
    """The probes, all of them through the front door."""
    door = environment.front_door.url

    def probe(name: str, who: str, attempt: str, harmless: str, act: Callable[[], Tried]) -> Probe:
        return Probe(f"common/probe/{name}", f"{door}, {who}", attempt, harmless, act)

    drill = "as the ERP's user drill"
    return [
        probe(
            "erp_without_login",
            "without a login",
            "model.party.party.search",
            "what it reads is thrown away",
            partial(_without_login, environment),
        ),
        probe(
            "erp_wrong_password",
            "as a user who does not exist",
            "common.db.login with a name and password just made up, and its line in the log",
            "the session is closed at once; no user's attempts are counted",
            partial(_wrong_password, environment),
        ),
        probe(
            "erp_default_password",
            f"the stored password of {_ADMINISTRATOR}, as orchestrator by TLS",
            f"the password {_GUESS!r} against it, by the library that the ERP compares with",
            "nobody logs in",
            partial(_default_password, environment, secrets),
        ),
        probe(
            "erp_user_writes_users",
            drill,
            "model.res.user.write of his own record, without a field",
            "it writes nothing",
            partial(_as_drill, environment, secrets, _write_own_user),
        ),
        probe(
            "erp_user_writes_books",
            drill,
            "model.account.move.create of a move without any field",
            "the ERP refuses a move without its period, and writes nothing",
            partial(_as_drill, environment, secrets, _create_move),
        ),
    ]


def _client(environment: Environment) -> Erp:
    site = environment.starting_primary
    return Erp(environment.front_door.url, site.erp.database, environment.tls.ca_file)


def _without_login(environment: Environment) -> Tried:
    client = _client(environment)
    try:
        client.search("party.party", [])
    except ErpError as error:
        return Tried(error.kind in _REFUSED_STATUS or None, error.what)
    finally:
        client.close()
    return Tried(False, "it was answered")


def _log_in(environment: Environment, credentials: Credentials) -> Tried:
    client = _client(environment)
    try:
        client.login(credentials)
        client.logout()
    except ErpError as error:
        # 401: the password is wrong; 429: too many were. No other answer is a refusal by right.
        return Tried(error.kind in {"login", "401", "429"} or None, error.what)
    finally:
        client.close()
    return Tried(False, "it let the probe in", undone=True)


def _wrong_password(environment: Environment) -> Tried:
    name = f"anlan-probe-{random.token_hex(4)}"
    logs = [site.machine.directory / "log" / "erp.log" for site in environment.sites.values()]
    before = {log: log.stat().st_size for log in logs}
    tried = _log_in(environment, Credentials(name, random.token_hex(16)))
    line = f"login failed for '{name}'".encode()
    deadline = time.monotonic() + _LOG_SECONDS
    logged = False
    while not logged and time.monotonic() < deadline:
        for log, size in before.items():
            with log.open("rb") as stream:
                stream.seek(min(size, log.stat().st_size))
                logged = logged or line in stream.read()
        if not logged:
            time.sleep(0.05)
    return Tried(tried.refused, tried.answer, tried.undone, logged)


def _default_password(environment: Environment, secrets: Secrets) -> Tried:
    """By the ERP's own library and what its database stores: a login would count as failed.

    After five of those the ERP lets nobody in under that name, so a probe at each drill would
    lock the administrator out.
    """
    with connect_read_write(environment, database_login(secrets)) as connection:
        found = connection.execute(
            "SELECT password_hash FROM res_user WHERE login = %s AND active", (_ADMINISTRATOR,)
        ).fetchone()
    if found is None or not found[0]:
        return Tried(True, "there is no such user, or he has no password")
    done = run(
        [environment.starting_primary.erp.venv / "bin" / "python", "-c", _VERIFY, _GUESS],
        timeout_seconds=_VERIFY_SECONDS,
        stdin=found[0],
        secrets=[found[0]],
        accept=(0, 1),
    )
    opens = {"True": True, "False": False}.get(done.output.strip())
    return Tried(None if opens is None else not opens, f"the password opens it: {opens}")


def _as_drill(environment: Environment, secrets: Secrets, act: Callable[[Erp], Any]) -> Tried:
    entry = secret_entry(secrets, "erp-probe")
    client = _client(environment)
    try:
        client.login(Credentials(entry["username"], entry["password"]))
        try:
            act(client)
        except ErpError as error:
            if "not allowed to access" in error.what:
                return Tried(True, error.what)
            # What the ERP says of the values, it says after it has let the user write.
            return Tried(False if "required" in error.what else None, error.what)
        finally:
            client.logout()
    finally:
        client.close()
    return Tried(False, "it succeeded")


def _write_own_user(client: Erp) -> None:
    ids = client.search("res.user", [["login", "=", "drill"]])
    client.call("model.res.user.write", ids or [1], {})


def _create_move(client: Erp) -> None:
    client.call("model.account.move.create", [{}])
