"""Verbs of the readiness drill: everything that a failover would need, asked and not done."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from orchestrator.collect import audit_log
from orchestrator.collect.observe import observe
from orchestrator.collect.records import finished_runs
from orchestrator.drivers.certificates import server_certificates
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_commit import hasty_commits
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.postgresql_room import room_bytes
from orchestrator.drivers.postgresql_standby import conninfo
from orchestrator.drivers.secrets_storage import SecretsStorage
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import AnlanError, InfrastructureError
from orchestrator.model.folders import data_folder
from orchestrator.steps.backup import backups_of, repositories, side_by_side
from orchestrator.steps.context import Context
from orchestrator.steps.environment import survey
from orchestrator.steps.registry import verb

_ASK_TIMEOUT_SECONDS = 10.0


@verb()
def survey_environment(context: Context) -> None:
    """Every part answers and is as it starts; all of them are looked at, whatever one says."""
    try:
        for name, holds, detail in survey(context):
            context.check(name, holds, detail)
    except InfrastructureError as error:
        context.check("survey_complete", None, f"{error.what[:300]}: the rest was not asked")
    else:
        context.check("survey_complete", True, "every part was asked")


@verb()
def check_standby(context: Context) -> None:
    """The standby streams as the tier says, is close behind, and could be rewound afterwards."""
    name = context.away.database.application_name
    primary = context.servers[context.home.name]
    try:
        replicas = primary.replicas()
    except InfrastructureError:
        replicas = ()
    found = next((one for one in replicas if one.application_name == name), None)
    wanted = "sync" if primary.settings.synchronous else "async"
    mode = "not there" if found is None else f"{found.state}, {found.sync_state}"
    context.check("standby_mode", mode == f"streaming, {wanted}", f"{mode}; {wanted} is wanted")
    limit = float(context.options["lag_bytes"])
    lag = None if found is None else found.flush_lag_bytes
    within = None if lag is None else lag <= limit
    context.check("standby_lag", within, f"{lag} bytes to flush, at most {limit:g}")
    _check_replay(context)
    if primary.settings.synchronous:
        try:
            hasty = hasty_commits(primary)
            waits = not hasty
            seen = f"not those of: {hasty}" if hasty else "of every role, in every database"
        except (InfrastructureError, psycopg.Error) as error:
            waits, seen = None, f"could not be asked: {error}"
        context.check("commits_wait", waits, seen)
    for site, server in context.servers.items():
        ready, detail = _rewindable(server)
        context.check(f"rewindable_{site}", ready, detail)


def _check_replay(context: Context) -> None:
    """What the standby receives it replays too: else a promotion replays it first, and takes long.

    A paused replay does not show in what is flushed, and commits do not wait for it.
    """
    try:
        with context.servers[context.away.name].connect_local() as connection:
            state = str(value(connection, "SELECT pg_get_wal_replay_pause_state()"))
        replays, detail = state == "not paused", state
    except (InfrastructureError, psycopg.Error) as error:
        replays, detail = None, f"could not be asked: {error}"
    context.check("standby_replays", replays, f"replay of WAL: {detail}")


def _rewindable(server: PostgreSQL) -> tuple[bool | None, str]:
    """Whether pg_rewind can work on the server, once it is an old primary."""
    try:
        with server.connect_local() as connection:
            names = ("data_checksums", "wal_log_hints", "full_page_writes")
            seen = {name: str(value(connection, f"SHOW {name}")) for name in names}
    except (InfrastructureError, psycopg.Error) as error:
        return None, f"could not be asked: {error}"
    hints = "on" in {seen["data_checksums"], seen["wal_log_hints"]}
    detail = ", ".join(f"{name} {setting}" for name, setting in seen.items())
    return hints and seen["full_page_writes"] == "on", detail


@verb()
def check_replication_logins(context: Context) -> None:
    """Each site can log in at the other as what a rejoin needs: replicator and rewinder."""
    queries = {"replicator": ("replication=true", "IDENTIFY_SYSTEM"), "rewinder": ("", "SELECT 1")}
    for site, server in context.servers.items():
        peer = context.environment.peer(site)
        for user, (more, query) in queries.items():
            database = "postgres" if user == "rewinder" else None
            text = f"{conninfo(server, peer, user, database)} {more}".strip()
            try:
                server.machine.run(
                    [
                        server.settings.bin_directory / "psql",
                        *("--no-psqlrc", "--tuples-only", f"--dbname={text}"),
                        f"--command={query}",
                    ],
                    timeout_seconds=_ASK_TIMEOUT_SECONDS,
                    as_user=server.site.machine.service_user,
                )
                ok, detail = True, "logged in"
            except InfrastructureError as error:
                ok, detail = False, error.what[-300:]
            context.check(f"login_{user}_{site}", ok, f"at site {peer.name}: {detail}")


@verb()
def check_erps(context: Context) -> None:
    """The ERP of each site answers by itself and lets a client log in: both are warm."""
    for name, site in context.environment.sites.items():
        erp = Erp(
            site.erp.url,
            site.erp.database,
            context.environment.tls.ca_file,
            timeout_seconds=_ASK_TIMEOUT_SECONDS,
        )
        try:
            version = erp.version()
            erp.login(context.erp_login)
            erp.logout()
            ok, detail = True, f"version {version}, a login and a logout"
        except AnlanError as error:
            ok, detail = False, error.what[:300]
        erp.close()
        context.check(f"erp_warm_{name}", ok, detail)


@verb()
def check_room(context: Context) -> None:
    """Each site has room for what a recovery writes."""
    limit = float(context.options["free_mib"])
    for name, server in context.servers.items():
        free = room_bytes(server) / 2**20
        context.check(f"room_{name}", free >= limit, f"{free:.0f} MiB free, {limit:g} wanted")


@verb()
def check_archive_path(context: Context) -> None:
    """A WAL segment that is closed now reaches every repository."""
    try:
        backups_of(context).check()
        ok, detail = True, "a segment was switched and archived"
    except InfrastructureError as error:
        ok, detail = False, error.what[:300]
    context.check("archive_path", ok, detail)


@verb()
def check_repositories(context: Context) -> None:
    """Each site can read each repository with its own login and cipher pass."""

    def ask(pair: tuple[str, int]) -> tuple[str, bool | None, str]:
        site, number = pair
        name = f"repository_{number}_read_by_{site}"
        try:
            tool = PgBackRest(context.environment, context.environment.sites[site])
            wrong = tool.readable(number)
        except (InfrastructureError, ValueError) as error:
            return name, None, f"could not be asked: {error}"[:300]
        return name, not wrong, wrong or "its index was read"

    pairs = [(site, number) for site in context.servers for number in repositories(context)]
    for name, ok, detail in side_by_side(ask, pairs):
        context.check(name, ok, detail)


@verb()
def check_audit_trails(context: Context) -> None:
    """Each audit trail takes an entry now: a failover that leaves none can not be accounted for."""
    for collector in audit_log.collectors(context.environment, context.secrets):
        fact = observe(collector)
        written = fact.data.get("probe_written") if fact.status == "observed" else None
        detail = fact.error or f"probe: {fact.data.get('probe', 'the extension is not loaded')}"
        context.check(f"audited_{collector.subject.replace('/', '_')}", written, detail[:300])


@verb()
def check_keys(context: Context) -> None:
    """The keys that a restart asks for are there: a running server does not miss its own."""
    for subject, one in server_certificates(context.environment).items():
        try:
            ok = one.has_its_key()
            detail = "fits the certificate" if ok else "is of another certificate"
        except InfrastructureError as error:
            ok, detail = False, error.what
        context.check(f"key_{subject.replace('/', '_')}", ok, detail[:300])
    try:
        held = SecretsStorage(context.environment).unseal_keys()
        keys, threshold = len(held["unseal_keys"]), int(held["threshold"])
        ok, detail = keys >= threshold, f"{keys} unseal keys, {threshold} wanted"
    except (InfrastructureError, OSError, KeyError, TypeError, ValueError) as error:
        ok, detail = False, f"no unseal keys: {type(error).__name__}"
    context.check("unseal_keys", ok, detail)


@verb()
def check_last_drill(context: Context) -> None:
    """The last real drill of this kind passed, lately, on what is here today: else it is stale."""
    name, days = str(context.options["drill"]), float(context.options["max_age_days"])
    state, environment = context.directory.parent.parent, str(context.plan["environment"]["name"])
    runs = [run for run in finished_runs(state, environment) if run.plan["drill"]["name"] == name]
    if not runs:
        context.check(f"{name}_proven", False, f"no finished drill {name} on this environment")
        return
    last = runs[-1]
    now = {
        "descriptor": context.environment.digest,
        "stack and roles": context.environment.deployment_digest,
        "drill": sha256((data_folder("drills") / f"{name}.yaml").read_bytes()),
        "version": context.plan["tool"]["version"],
    }
    then = {**last.bound, "drill": last.plan["drill"]["digest"]}
    context.note("last_drill", {"run": last.run_id, "then": then, "now": now})
    verdict = last.result["verdict"]
    context.check(f"{name}_proven", verdict == "pass", f"{last.run_id}: {verdict}")
    changed = [key for key in now if now[key] != then[key]]
    context.check(
        f"{name}_current",
        not changed,
        f"changed since {last.run_id}: {', '.join(changed) or 'nothing'}",
    )
    age = (datetime.now(UTC) - last.ended_at).total_seconds() / 86_400
    context.check(f"{name}_recent", age <= days, f"{age:.1f} days ago, at most {days:g}")
