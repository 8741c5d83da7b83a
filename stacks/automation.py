"""The local stack through Pulumi's Automation API: what `anlan up`, `down` and `refresh` do.

It works on the state that `stacks/local/env.sh` shows to the `pulumi` command, so both may be used
in turn.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.supervisor import Supervisor
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.folders import data_folder
from stacks import locks, places
from stacks.components.config import MACHINES, parse_config
from stacks.components.ground import clear
from stacks.failures import Violated, Violation, failures, violation

PROJECT = places.PROJECT
PROGRAM = places.PROGRAMS / "local"
_PART_TYPE = "pulumi-python:dynamic/anlan:"
_QUIET = ("same", "read")
_JUDGED = ("preview", "up")


@dataclass(frozen=True)
class PartEvent:
    """A part began or ended. `action` is Pulumi's word (create, update, delete, refresh), `state`
    started, done, failed or (in a preview) planned, `seconds` the time since it began."""

    part: str
    action: str
    state: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a command did: counts of resources by change, and drift (part to what differs).

    `notices` are what policies found that does not stop a deployment, or could not tell yet.
    """

    environment: str
    descriptor: Path | None
    seconds: float
    changes: dict[str, int]
    drift: dict[str, list[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


Report = Callable[[PartEvent], None]


def up(
    name: str,
    settings: Mapping[str, str],
    report: Report,
    *,
    preview: bool = False,
    refresh: bool = False,
    parts: Sequence[str] = (),
) -> Outcome:
    """Provision the environment `name`, or bring it to its configuration.

    `settings` are configuration keys with values (`addresses.a` names a part of a key); they are
    kept for the next time. `refresh` looks for drift first, which is also done when a machine is
    down, as after a reboot; `preview` changes nothing. `parts` names those that are to be looked at
    alone. The policies judge the whole plan before anything is made, and each part again just
    before it is made. Raises InputError naming the key, Violated when a policy does not allow it,
    Refused while another pulumi works or (for `settings`, or with a machine down and no `refresh`)
    while a drill holds the environment, InfrastructureError.
    """
    stack = _Stack(name)
    stack.check(settings)
    root = places.environment_link(stack.state, name)
    lease = LeaseFile(root / "lease.json").current()
    if lease.is_held and settings and not preview:
        raise Refused(
            f"run {lease.run_id} holds the environment {name}: its configuration stays",
            f"end the run first (`anlan drill resume {lease.run_id}`), then change it",
        )
    if (down := _machines_down(root)) and not refresh:
        if lease.is_held and not preview:
            raise Refused(
                f"machine {', '.join(down)} is down, and run {lease.run_id} holds {name}",
                f"`anlan drill resume {lease.run_id}`; after a reboot first `--refresh`",
            )
        refresh = True
    stack.free()
    with stack.configured(settings, preview=preview):
        stack.forget_interrupted()
        chosen = {"target": _targets(parts)} if parts else {}
        if preview:
            return stack.run("preview", report, refresh=refresh, **chosen)
        started = time.monotonic()
        # Parts alone are what is missing of a plan that was judged: the update judges them too.
        if not parts:
            stack.run("preview", lambda _: None, **chosen)
        outcome = stack.run("up", report, refresh=refresh, **chosen)
        return replace(outcome, seconds=round(time.monotonic() - started, 1))


def _machines_down(root: Path) -> list[str]:
    """The machines of an environment whose supervisord does not answer, or that are gone."""
    if not (root / "environment.json").exists():
        return []
    machines = [root / name for name in MACHINES]
    return [one.name for one in machines if not Supervisor(one / "run/supervisor.sock").answers()]


def down(name: str, report: Report, *, preview: bool = False, force: bool = False) -> Outcome:
    """Remove the environment: its processes, its files, its stack.

    Raises Refused while a drill holds the environment, unless `force`; that also removes what a
    failing role would keep. Raises InputError when there is none, InfrastructureError.
    """
    stack = _Stack(name)
    link = places.environment_link(stack.state, name)
    lease = LeaseFile(link / "lease.json").current()
    if lease.is_held and not force:
        raise Refused(
            f"run {lease.run_id} holds the environment {name}",
            f"wait for it or abort it (`anlan drill abort {lease.run_id}`); --force ignores it",
        )
    if not stack.exists():
        raise InputError(f"there is no environment {name!r}", "`anlan env list` shows them")
    stack.free()
    if preview:
        return stack.run("preview_destroy", report)
    root = link.resolve()
    try:
        outcome = stack.run("destroy", report)
    except InfrastructureError:
        if not force:
            raise
        started = time.monotonic()
        clear(root, link)
        outcome = Outcome(name, None, time.monotonic() - started, _counts({}))
    stack.remove(force=force)
    return outcome


def refresh(
    name: str, report: Report, *, preview: bool = False, parts: Sequence[str] = ()
) -> Outcome:
    """Find what differs from the configuration; the next `up` repairs it.

    `preview` does not note it for that; `parts` names those that are to be looked at alone. Raises
    InputError when there is no such environment, Refused, InfrastructureError.
    """
    stack = _Stack(name)
    if not stack.exists():
        raise InputError(f"there is no environment {name!r}", "`anlan env list` shows them")
    stack.free()
    chosen = {"target": _targets(parts)} if parts else {}
    return stack.run("preview_refresh" if preview else "refresh", report, **chosen)


def parts_of(name: str, role: str) -> dict[str, str]:
    """The parts of an environment that are this role: part to the machine that it is on.

    Raises InputError when there is no such environment.
    """
    stack = _Stack(name)
    if not stack.exists():
        raise InputError(f"there is no environment {name!r}", "`anlan env list` shows them")
    found = {}
    for resource in stack.resources():
        inputs = resource.get("inputs", {})
        if resource["type"].startswith(_PART_TYPE) and inputs.get("role") == role:
            part = resource["urn"].rpartition("::")[2]
            found[part] = Path(inputs["variables"]["machine"]).name
    return found


def _targets(parts: Sequence[str]) -> list[str]:
    return [f"**::{part}" for part in parts]


def names() -> list[str]:
    """The environments that have a stack in this state directory."""
    stacks = places.state_directory() / "pulumi" / ".pulumi" / "stacks" / PROJECT
    return sorted({path.name.split(".")[0] for path in stacks.glob("*.json*")})


class _Stack:
    """One stack of the local program, with its configuration file in the state directory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = places.state_directory()
        self.backend = self.state / "pulumi"
        # The program's Pulumi.yaml names it as stackConfigDir, for a state in the checkout.
        self.folder = self.backend / "local"
        self.file = self.folder / f"Pulumi.{name}.yaml"

    def exists(self) -> bool:
        """Whether the state knows the stack."""
        stacks = self.backend / ".pulumi" / "stacks" / PROJECT
        return any((stacks / f"{self.name}{end}").exists() for end in (".json", ".json.gz"))

    def free(self) -> None:
        """Remove the locks of killed pulumis. Raises Refused for a live one."""
        locks.free(self.backend / ".pulumi" / "locks" / "organization" / PROJECT / self.name)

    def settings(self) -> dict[str, Any]:
        """The configuration that is kept for this stack."""
        if not self.file.is_file():
            return {}
        kept = yaml.safe_load(self.file.read_text()) or {}
        prefix = f"{PROJECT}:"
        return {
            key.removeprefix(prefix): value
            for key, value in (kept.get("config") or {}).items()
            if key.startswith(prefix)
        }

    def check(self, settings: Mapping[str, str]) -> None:
        """Raise InputError for a name, key or value that is not allowed."""
        wished = _merged(self.settings(), settings)
        parse_config(wished, self.name, self.state, places.service_user())

    def _configure(self, settings: Mapping[str, str]) -> None:
        """Keep `settings` for this and later runs."""
        if not settings:
            return
        kept = yaml.safe_load(self.file.read_text()) or {}
        config = kept.setdefault("config", {})
        for key, value in _merged(self.settings(), settings).items():
            config[f"{PROJECT}:{key}"] = value
        self.file.write_text(yaml.safe_dump(kept))

    def forget_interrupted(self) -> None:
        """Forget what a killed pulumi was about to make: a role takes over what it finds.

        Pulumi would warn of it in every later run.
        """
        if not self._latest().get("pending_operations"):
            return
        with failures(_Watcher(lambda _: None)):
            stack = automation.Stack.select(self.name, self._workspace())
            state = stack.export_stack()
            state.deployment = {**(state.deployment or {}), "pending_operations": []}
            stack.import_stack(state)

    def resources(self) -> list[dict[str, Any]]:
        """What the state holds of each resource."""
        return list(self._latest().get("resources") or [])

    def _latest(self) -> dict[str, Any]:
        """The newest state; empty before the first run has ended."""
        file = self.backend / ".pulumi" / "stacks" / PROJECT / f"{self.name}.json"
        latest = json.loads(file.read_text())["checkpoint"]["latest"] if file.exists() else None
        return dict(latest or {})

    @contextlib.contextmanager
    def configured(self, settings: Mapping[str, str], *, preview: bool) -> Iterator[None]:
        """Make the stack if there is none, and keep `settings` for this and later runs.

        After a preview, and when policies refuse them, neither is kept.
        """
        made = not self.exists()
        if made:
            self._pulumi("stack", "init", self.name)
        before = self.file.read_text()
        undo = preview
        try:
            self._configure(settings)
            yield
        except Violated as refused:
            undo = not refused.deployed
            raise
        finally:
            if undo:
                self.file.write_text(before)
                if made:
                    self.remove(force=False)

    def remove(self, *, force: bool) -> None:
        """Remove the stack with its history, configuration and the backend's copies of it."""
        self._pulumi("stack", "rm", self.name, "--yes", *(["--force"] if force else []))
        pulumi = self.backend / ".pulumi"
        for kept in ("backups", "history"):
            shutil.rmtree(pulumi / kept / PROJECT / self.name, ignore_errors=True)
        for copy in (pulumi / "stacks" / PROJECT).glob(f"{self.name}.json*"):
            copy.unlink()

    def _pulumi(self, *arguments: str) -> None:
        """A command on the stack itself."""
        workspace = self._workspace()
        with failures(_Watcher(lambda _: None)):
            workspace.pulumi_command.run(
                [*arguments], str(self.folder), places.pulumi_environment(self.state)
            )

    def _workspace(self) -> automation.LocalWorkspace:
        """The program as a project of its own in this state, beside its stacks' configuration.

        In the program's own folder commands would look for that in the checkout.
        """
        root = places.cache_directory()
        if not (root / "bin" / "pulumi").exists():
            raise InfrastructureError(
                f"pulumi is not in {root / 'bin'}", "get the toolchain: `make setup`"
            )
        project = yaml.safe_load((PROGRAM / "Pulumi.yaml").read_text())
        del project["stackConfigDir"]
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({**project, "main": str(PROGRAM)}, sort_keys=False)
        write_atomically(self.folder / "Pulumi.yaml", text, mode=0o644)
        return automation.LocalWorkspace(
            work_dir=str(self.folder),
            env_vars=places.pulumi_environment(self.state),
            pulumi_command=automation.PulumiCommand(str(root), skip_version_check=True),
        )

    def run(self, verb: str, report: Report, **options: Any) -> Outcome:
        """Run a verb of the Automation API's Stack and return what it did."""
        watcher = _Watcher(report, planning=verb.startswith("preview"))
        if verb in _JUDGED:
            options["policy_packs"] = [str(data_folder("policies") / "crossguard")]
        started = time.monotonic()
        with failures(watcher):
            stack = automation.Stack.select(self.name, self._workspace())
            getattr(stack, verb)(on_event=watcher, color="never", **options)
        descriptor = places.environment_link(self.state, self.name) / "environment.json"
        return Outcome(
            environment=self.name,
            descriptor=descriptor if descriptor.exists() else None,
            seconds=round(time.monotonic() - started, 1),
            changes=_counts(watcher.changes),
            drift=watcher.drift,
            notices=[str(one) for one in watcher.violations],
        )


class _Watcher:
    """Takes the engine's events: reports the parts, keeps counts, drift and errors."""

    def __init__(self, report: Report, *, planning: bool = False) -> None:
        self.report = report
        self.planning = planning
        self.changes: Mapping[Any, int] = {}
        self.drift: dict[str, list[str]] = {}
        self.errors: dict[str, str] = {}
        self.violations: list[Violation] = []
        self._begun: dict[str, float] = {}

    def __call__(self, event: Any) -> None:
        """Note one event."""
        if event.resource_pre_event:
            self._part(event.resource_pre_event.metadata, "started")
        elif event.res_outputs_event:
            self._part(event.res_outputs_event.metadata, "done")
        elif event.res_op_failed_event:
            self._part(event.res_op_failed_event.metadata, "failed")
        elif event.diagnostic_event and event.diagnostic_event.severity == "error":
            part = (event.diagnostic_event.urn or "").rpartition("::")[2]
            text = event.diagnostic_event.message.strip()
            self.errors[part] = f"{self.errors.get(part, '')}\n{text}".strip()
        elif event.policy_event:
            self.violations.append(violation(event.policy_event))
        elif event.summary_event:
            self.changes = event.summary_event.resource_changes

    def _part(self, step: Any, state: str) -> None:
        action = str(getattr(step.op, "value", step.op))
        part, now = step.urn.rpartition("::")[2], time.monotonic()
        unchanged = action in _QUIET and part not in self._begun
        if not step.type.startswith(_PART_TYPE) or unchanged:
            return
        if state == "started":
            self._begun[part] = now
        if state == "done" and step.new and (found := (step.new.outputs or {}).get("drift")):
            self.drift[part] = [str(item) for item in found]
        if self.planning and state == "started":
            return
        state = "planned" if self.planning else state
        self.report(PartEvent(part, action, state, round(now - self._begun.get(part, now), 1)))


def _counts(changes: Mapping[Any, int]) -> dict[str, int]:
    """Pulumi's counts of resources; a replaced one is an update."""
    found = {str(getattr(key, "value", key)): count for key, count in changes.items()}
    counts = {key: found.get(key, 0) for key in ("create", "update", "delete", "same")}
    counts["update"] += found.get("replace", 0)
    return counts


def _merged(kept: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """The kept configuration with `settings` in it; `addresses.a` sets one key of an object."""
    merged = dict(kept)
    for key, value in settings.items():
        name, dot, inner = key.partition(".")
        if dot:
            old = merged.get(name)
            merged[name] = {**(old if isinstance(old, Mapping) else {}), inner: value}
        else:
            merged[name] = value
    return merged
