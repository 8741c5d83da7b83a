"""Drills are tested by mutation: the environment is broken, and the drill must name what is.

A drill that stays green is a mutation that lives. Red for another reason does not count: the
check or step that is expected must be red, and no other check than those of the mutation.
`python -m tests.faults.kill_rate` runs them all, and prints how many were killed, by drill.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.environment import Environment
from tests.commands import anlan, run_drill
from tests.faults import mutations
from tests.faults.few import few_policies
from tests.faults.kill_rate import KILLED

Apply = Callable[[Environment, Path], AbstractContextManager[None]]
OBSERVE = ("-p", "observe_seconds=1")
BASELINE = ("-p", "baseline_seconds=1")
RESTORE = (*OBSERVE, "-p", f"repository={mutations.REPOSITORY}")


@dataclass(frozen=True)
class Mutation:
    """What is broken, and what the drill must say: a check that is not true, or a step that failed
    with `words` in its error. `unknown`: the check says that it does not know."""

    apply: Apply
    check: str = ""
    step: str = ""
    words: str = ""
    unknown: bool = False

    def __str__(self) -> str:
        return self.apply.__name__


READINESS = (
    Mutation(mutations.replay_paused, check="standby_replays"),
    Mutation(mutations.commits_do_not_wait, check="commits_wait"),
    Mutation(mutations.audit_device_dead, check="audited_common_secrets"),
    Mutation(mutations.statements_not_audited, check="audited_a_postgresql"),
    Mutation(mutations.cipher_pass_wrong_at_standby, check="repository_2_read_by_b"),
    Mutation(mutations.database_key_gone, check="key_b_postgresql"),
    Mutation(mutations.unseal_keys_gone, check="unseal_keys"),
)
# Of these each is broken alone, and the drill ends with it.
DRILLS = [
    ("readiness", (), Mutation(mutations.standby_cut_off, check="standby_mode")),
    ("failover", BASELINE, Mutation(mutations.standby_cut_off, check="standby_streams")),
    ("failover", BASELINE, Mutation(mutations.commits_do_not_wait, check="commits_wait")),
    (
        "failover",
        BASELINE,
        Mutation(mutations.watch_dies, check="never_two_primaries", unknown=True),
    ),
    (
        "failover",
        BASELINE,
        Mutation(mutations.standby_not_audited, check="policy_audit_database"),
    ),
    (
        "failover",
        BASELINE,
        Mutation(mutations.standby_serves_plaintext, check="policy_tls_plaintext_refused"),
    ),
    (
        "failover",
        BASELINE,
        Mutation(mutations.stranger_is_superuser, check="policy_database_superusers"),
    ),
    (
        "restore",
        RESTORE,
        Mutation(mutations.stranger_is_superuser, check="policy_database_superusers"),
    ),
    ("restore", RESTORE, Mutation(mutations.commits_hang, check="ledger_baseline")),
    (
        "backup",
        ("-p", "type=incr"),
        Mutation(mutations.archive_has_a_gap, check="repository_2_wal_complete"),
    ),
    (
        "restore",
        RESTORE,
        Mutation(mutations.archive_has_a_gap, step="restore-twin", words="recovery"),
    ),
    (
        "backup",
        ("-p", "type=incr"),
        Mutation(mutations.archive_has_a_newer_timeline, check="repository_2_timeline"),
    ),
    (
        "restore",
        RESTORE,
        Mutation(mutations.archive_has_a_newer_timeline, check="repository_2_timeline"),
    ),
    (
        "backup",
        ("-p", "type=incr"),
        Mutation(
            mutations.cipher_pass_wrong_at_primary, step="take-backup", words="cannot be opened"
        ),
    ),
    (
        "restore",
        RESTORE,
        Mutation(
            mutations.cipher_pass_wrong_at_standby, step="restore-twin", words="cannot be opened"
        ),
    ),
    (
        "restore",
        RESTORE,
        Mutation(mutations.invoice_line_changed, check="invoice_lines_sum_to_totals"),
    ),
    (
        "corruption",
        (*RESTORE, "-p", "damage=none"),
        Mutation(mutations.invoice_line_changed, check="no_damage_found"),
    ),
]
ALL = os.environ.get("ANLAN_FAULTS") == "all"
# `make test` breaks all that readiness looks at together, since each has a check of its own.
TOGETHER = [(one,) for one in READINESS] if ALL else [READINESS]
SHORT = {
    ("restore", "invoice_line_changed"),
    ("failover", "watch_dies"),
    ("failover", "standby_not_audited"),
}
if not ALL:
    DRILLS = [one for one in DRILLS if (one[0], str(one[2])) in SHORT]


@pytest.mark.parametrize("together", TOGETHER, ids=lambda some: "+".join(map(str, some)))
def test_readiness_names_what_is_broken_and_nothing_else(
    environment: Environment, state: Path, together: tuple[Mutation, ...]
) -> None:
    wanted = {one.check for one in together}
    KILLED.update({("readiness", str(one)): False for one in together})
    with ExitStack() as stack:
        for one in together:
            stack.enter_context(one.apply(environment, state))
        red = _red(run_drill(state, environment, "readiness")[1])
    KILLED.update({("readiness", str(one)): one.check in red for one in together})
    # No failover was drilled in this state directory.
    assert red - {"failover_proven"} == wanted
    if not ALL:
        healthy = _red(run_drill(state, environment, "readiness")[1])
        assert healthy == {"failover_proven"}, "the control: nothing is broken any more"


@pytest.mark.parametrize(
    ("drill", "arguments", "mutation"), DRILLS, ids=[f"{one[0]}-{one[2]}" for one in DRILLS]
)
def test_a_drill_turns_red_for_the_right_reason(
    environment: Environment,
    state: Path,
    drill: str,
    arguments: tuple[str, ...],
    mutation: Mutation,
) -> None:
    key = (drill, str(mutation))
    KILLED[key] = False
    with mutation.apply(environment, state):
        code, result = run_drill(state, environment, drill, *arguments, *few_policies())
    KILLED[key] = _is_named(result, mutation)
    assert KILLED[key], result["derived"]["reasons"]
    assert (code, result["verdict"]) != (0, "pass")
    assert [one for one in result["derived"]["undo"] if one["status"] != "done"] == []
    assert anlan(state, "env", "check", environment.name).returncode == 0


@pytest.mark.skipif(not ALL, reason="make faults")
def test_an_empty_database_is_no_restored_one(environment: Environment, state: Path) -> None:
    key = ("restore", "database_empty")
    KILLED[key] = False
    # The newest backup is from before the moment, and full.
    moment = mutations.when_the_erp_was_empty(environment)
    at = ("-p", f"target={moment}", *few_policies())
    _, result = run_drill(state, environment, "restore", *RESTORE, *at)
    KILLED[key] = result["verdict"] == "fail" and "start-twin-erp" in _errors(result)
    assert KILLED[key], result["derived"]["reasons"]
    assert anlan(state, "env", "check", environment.name).returncode == 0


def _red(result: dict[str, Any]) -> set[str]:
    """The checks that do not hold, or could not be made."""
    return {one["name"] for one in result["derived"]["checks"] if one["ok"] is not True}


def _is_named(result: dict[str, Any], mutation: Mutation) -> bool:
    """Whether a drill is red for a mutation's reason."""
    if result["verdict"] == "pass":
        return False
    if mutation.step:
        errors = _errors(result)
        return mutation.step in errors and mutation.words in errors[mutation.step]
    said = {one["name"]: one["ok"] for one in result["derived"]["checks"]}
    wanted = None if mutation.unknown else False
    return mutation.check in said and said[mutation.check] is wanted


def _errors(result: dict[str, Any]) -> dict[str, str]:
    """What the steps that failed say."""
    steps = result["derived"]["steps"]
    return {str(one["id"]): str(one["error"]) for one in steps if one["status"] == "failed"}
