#!/usr/bin/python
"""Whether commits of the primary wait for its standby.

The server is asked who it is: where a failover made the other site the primary, the setting is
the failover's business and nothing changes here.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from ansible.module_utils.anlan_postgres import Connection, connect, in_recovery, scalar
from ansible.module_utils.basic import AnsibleModule
from psycopg import sql

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "port": {"type": "int", "required": True},
    "standby": {"type": "str", "required": True},
    "synchronous": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "timeout_seconds": {"type": "float", "default": 60.0},
}


def replica(connection: Connection, standby: str) -> tuple[str, str] | None:
    """`state` and `sync_state` of the standby, or None when it is not connected."""
    return connection.execute(
        "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = %s", (standby,)
    ).fetchone()


def wait(connection: Connection, standby: str, synchronous: bool | None, limit: float) -> None:
    """Wait until the standby streams (and is as synchronous as said). Raises TimeoutError."""
    deadline = time.monotonic() + limit
    while True:
        found = replica(connection, standby)
        streaming = found is not None and found[0] == "streaming"
        if streaming and (synchronous is None or (found[1] in {"sync", "quorum"}) == synchronous):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{standby} does not stream as wanted after {limit:g} s (now: {found}): "
                "read the log of its server"
            )
        time.sleep(0.05)


def needs_of(connection: Connection, parameters: dict[str, Any]) -> list[str]:
    """What differs: `setting`, and `standby` when it does not stream."""
    present = parameters["state"] == "present"
    wanted = f"FIRST 1 ({parameters['standby']})" if present and parameters["synchronous"] else ""
    needs = []
    if scalar(connection, "SHOW synchronous_standby_names") != wanted:
        needs.append(f"synchronous_standby_names = {wanted!r}")
    found = replica(connection, parameters["standby"]) if present else ("streaming", "")
    if found is None or found[0] != "streaming":
        needs.append("standby")
    return needs


def apply(connection: Connection, parameters: dict[str, Any], needs: list[str]) -> None:
    """Set what `needs` named and wait for it."""
    present = parameters["state"] == "present"
    synchronous = present and parameters["synchronous"]
    if present:  # commits would hang if they waited for a standby that is not there
        wait(connection, parameters["standby"], None, parameters["timeout_seconds"])
    if needs and needs[0] != "standby":
        names = f"FIRST 1 ({parameters['standby']})" if synchronous else ""
        connection.execute(
            sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(names))
        )
        connection.execute("SELECT pg_reload_conf()")
    if present:
        wait(connection, parameters["standby"], synchronous, parameters["timeout_seconds"])


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    parameters, check = module.params, module.check_mode
    absent = parameters["state"] == "absent"
    try:
        with connect(parameters["machine"], parameters["port"]) as connection:
            needs = [] if in_recovery(connection) else needs_of(connection, parameters)
            if needs and not check:
                apply(connection, parameters, needs)
    except psycopg.OperationalError as error:
        if absent:  # a server that is gone waits for no standby
            module.exit_json(changed=False, actions=[], reason=str(error))
        if check:
            module.exit_json(changed=True, actions=[str(error)])
        module.fail_json(msg=f"replication from {parameters['machine']}: {error}")
    except (psycopg.Error, OSError) as error:
        module.fail_json(msg=f"replication from {parameters['machine']}: {error}")
    # A standby that came back by itself while this waited is no change made here.
    module.exit_json(changed=bool(needs if check else set(needs) - {"standby"}), actions=needs)


if __name__ == "__main__":
    main()
