"""What `anlan up` makes of Pulumi's events, settings and locks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi import automation as pulumi

from orchestrator.model.errors import InfrastructureError, Refused
from stacks import automation, locks
from stacks.failures import Violated, failures

URN = "urn:pulumi:t::anlan-local::pulumi-python:dynamic/anlan:AnsibleRole::"


def event(**fields: Any) -> Any:
    names = (
        "resource_pre_event",
        "res_outputs_event",
        "res_op_failed_event",
        "diagnostic_event",
        "policy_event",
        "summary_event",
    )
    return SimpleNamespace(**{**dict.fromkeys(names), **fields})


def step(part: str, action: str, kind: str = "AnsibleRole", **outputs: Any) -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(
            op=action,
            type=f"pulumi-python:dynamic/anlan:{kind}",
            urn=f"{URN}{part}",
            new=SimpleNamespace(outputs=outputs),
        )
    )


def failure(text: str, code: int = 255) -> pulumi.CommandError:
    return pulumi.CommandError(_Result(text, code))  # type: ignore[arg-type]


class _Result:
    def __init__(self, text: str, code: int) -> None:
        self.text, self.code = text, code

    def __str__(self) -> str:
        return f"\n code: {self.code}\n stdout: much\n stderr: {self.text}"


def test_each_part_is_reported_once_as_it_begins_and_once_as_it_ends() -> None:
    seen: list[automation.PartEvent] = []
    watcher = automation._Watcher(seen.append)
    watcher(event(resource_pre_event=step("erp-a", "create")))
    watcher(event(resource_pre_event=step("erp-b", "same")))
    watcher(event(res_outputs_event=step("erp-b", "same")))
    watcher(event(res_outputs_event=step("erp-a", "create")))
    assert [(one.part, one.state) for one in seen] == [("erp-a", "started"), ("erp-a", "done")]


def test_a_preview_says_what_is_planned() -> None:
    seen: list[automation.PartEvent] = []
    watcher = automation._Watcher(seen.append, planning=True)
    watcher(event(resource_pre_event=step("erp-a", "create")))
    watcher(event(res_outputs_event=step("erp-a", "create")))
    assert [one.state for one in seen] == ["planned"]


def test_drift_is_taken_from_what_a_part_was_found_to_be() -> None:
    watcher = automation._Watcher(lambda _: None)
    watcher(event(res_outputs_event=step("a", "update", drift=["Run the server"])))
    watcher(event(res_outputs_event=step("b", "update", drift=[])))
    assert watcher.drift == {"a": ["Run the server"]}


def test_a_failed_role_is_told_with_its_task_and_message() -> None:
    watcher = automation._Watcher(lambda _: None)
    text = "Exception calling application: role erp, task 'Run': it ended"
    for urn, message in ((f"{URN}erp-a", text), ("", "update failed")):
        watcher(event(diagnostic_event=SimpleNamespace(severity="error", urn=urn, message=message)))
    with pytest.raises(InfrastructureError) as failed, failures(watcher):
        raise failure("error: update failed")
    assert failed.value.what == "erp-a: role erp, task 'Run': it ended"


def test_a_failure_without_a_part_is_told_in_pulumis_words() -> None:
    with (
        pytest.raises(InfrastructureError, match="no space left"),
        failures(automation._Watcher(lambda _: None)),
    ):
        raise failure("no space left")


def test_a_killed_pulumi_is_called_that() -> None:
    with (
        pytest.raises(InfrastructureError, match="ended by signal 9"),
        failures(automation._Watcher(lambda _: None)),
    ):
        raise failure("", code=-9)


def violated(policy: str, part: str, level: str, message: str) -> Any:
    return event(
        policy_event=SimpleNamespace(
            policy_name=policy,
            resource_urn=f"{URN}{part}" if part else None,
            enforcement_level=level,
            message=message,
        )
    )


def test_a_refusal_names_policy_part_finding_and_what_to_do() -> None:
    watcher = automation._Watcher(lambda _: None, planning=True)
    text = (
        "<{%reset%}>P1: Logs are kept\nkept for 30 days. To do: Raise it. Then run it.<{%reset%}>\n"
    )
    watcher(violated("audit-retention", "postgresql-a", "mandatory", text))
    watcher(violated("audit-retention", "postgresql-b", "mandatory", text))
    watcher(violated("clocks", "a", "advisory", "P2: Clocks\nthey differ. To do: Set them."))
    with pytest.raises(Violated) as refused, failures(watcher):
        raise failure("error: preview failed")
    assert str(refused.value).splitlines() == [
        "refused by policy, before anything was deployed",
        "  audit-retention (P1: Logs are kept)",
        "    postgresql-a: kept for 30 days",
        "    postgresql-b: kept for 30 days",
        "  → audit-retention: Raise it. Then run it.",
    ]
    assert (refused.value.exit_code, refused.value.deployed) == (3, False)


def test_what_does_not_stop_a_deployment_is_told() -> None:
    watcher = automation._Watcher(lambda _: None)
    watcher(violated("clocks", "a", "advisory", "P2: Clocks\nthey differ. To do: Set them."))
    unknown = "can't run policy 'object-lock' during preview: it can't be known during preview"
    watcher(violated("object-lock", "store", "advisory", unknown))
    assert [str(one) for one in watcher.violations] == [
        "clocks (P2: Clocks): a: they differ",
        f"object-lock (not known yet): store: {unknown}",
    ]


def test_a_refusal_in_the_update_says_that_something_is_deployed() -> None:
    watcher = automation._Watcher(lambda _: None)
    watcher(violated("object-lock", "store", "mandatory", "P1: Lock\n0 days. To do: Raise it."))
    with pytest.raises(Violated, match="in the midst of the update") as refused, failures(watcher):
        raise failure("error: update failed")
    assert refused.value.deployed


def test_a_dotted_setting_changes_one_key_of_an_object() -> None:
    kept = {"addresses": {"a": "127.0.1.1", "b": "127.0.1.2"}, "tier": "VIP"}
    merged = automation._merged(kept, {"addresses.b": "127.0.9.9", "tier": "standard"})
    assert merged == {"addresses": {"a": "127.0.1.1", "b": "127.0.9.9"}, "tier": "standard"}
    assert kept["tier"] == "VIP"


def test_a_replaced_resource_counts_as_an_update() -> None:
    counts = automation._counts({"replace": 2, "update": 1, "same": 4})
    assert counts == {"create": 0, "update": 3, "delete": 0, "same": 4}


def lock(folder: Path, pid: int, host: str) -> Path:
    file = folder / f"{pid}.json"
    data = {"pid": pid, "username": "ops", "hostname": host, "timestamp": "2026-11-25T02:00:00Z"}
    file.write_text(json.dumps(data))
    return file


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """A live process that is named pulumi."""
    program = tmp_path / "pulumi"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        yield process.pid
        process.kill()


def test_the_lock_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    file = lock(tmp_path, process.pid, socket.gethostname())
    assert locks.free(tmp_path) == 1
    assert not file.exists()


def test_a_pid_that_another_program_has_by_now_holds_nothing(tmp_path: Path) -> None:
    lock(tmp_path, os.getpid(), socket.gethostname())
    assert locks.free(tmp_path) == 1


def test_a_live_pulumi_is_not_disturbed_and_named(tmp_path: Path, holder: int) -> None:
    file = lock(tmp_path, holder, socket.gethostname())
    with pytest.raises(Refused, match=f"process {holder} of ops"):
        locks.free(tmp_path)
    assert file.exists()


def test_a_lock_of_another_host_is_never_removed(tmp_path: Path) -> None:
    file = lock(tmp_path, 2**22 - 1, "elsewhere")
    with pytest.raises(Refused, match="elsewhere"):
        locks.free(tmp_path)
    assert file.exists()
