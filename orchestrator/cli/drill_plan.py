"""Plans: made from a drill's file, an environment and choices; and as a person reads them."""

from __future__ import annotations

import getpass
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import common
from orchestrator.model.errors import InputError
from orchestrator.model.folders import data_folder
from orchestrator.model.version import TOOL_VERSION

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.model.drill import Drill, Step
    from orchestrator.policy import Rules

_ESTIMATED_FROM = 5


class Planned:
    """A plan and the bytes that it is about."""

    def __init__(
        self, drill: Drill, document: dict[str, Any], environment: bytes, policies: dict[str, bytes]
    ) -> None:
        self.drill = drill
        self.document = document
        self.environment = environment
        self.policies = policies

    def make_run(self) -> Run:
        """Make the directory of its run. Raises InfrastructureError, also when there is one."""
        from orchestrator.engine import runs  # noqa: PLC0415

        state, text = common.state_directory(), self.drill.text
        return runs.create(state, self.document, text, self.environment, self.policies)


def find_drill(name: str, folder: Path | None) -> Drill:
    """Return a drill by its name, or by the path of its file. Raises InputError."""
    return load_drill(drill_path(name, folder))


def drill_path(name: str, folder: Path | None) -> Path:
    """Return where a drill's file is, which may be named itself."""
    path = Path(name)
    return path if path.suffix in {".yaml", ".yml"} else drills_folder(folder) / f"{name}.yaml"


def make_plan(
    name: str,
    environment: str,
    parameters: tuple[str, ...] = (),
    folder: Path | None = None,
    policy_folder: Path | None = None,
    *,
    run_id: str | None = None,
    trigger: str = "manual",
    scheduled: Mapping[str, Any] | None = None,
) -> Planned:
    """Return the plan of a new run; `scheduled` is its slot. Raises InputError."""
    from orchestrator.engine.runs import new_run_id  # noqa: PLC0415
    from orchestrator.evidence.persons.approvals import check_rule  # noqa: PLC0415
    from orchestrator.model.canonical import sha256  # noqa: PLC0415
    from orchestrator.model.drill import plan as plan_of  # noqa: PLC0415
    from orchestrator.model.environment import parse_environment  # noqa: PLC0415
    from orchestrator.model.recovered import JUDGE  # noqa: PLC0415
    from orchestrator.policy import parse_rules  # noqa: PLC0415

    found = find_drill(name, folder)
    path = common.descriptor_path(environment)
    text = path.read_bytes()
    parse_environment(text.decode(), file=str(path))
    given = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise InputError(f"{parameter!r} is not NAME=VALUE", "write -p target=random")
        given[key] = value
    policies = common.read_folder(policy_folder or data_folder("policies"))
    rules = parse_rules({key: content.decode() for key, content in policies.items()})
    for step in found.steps:
        if step.do == JUDGE:
            _check_judging(step, rules, str(drill_path(name, folder)))
    if rule := json.loads(text).get("approvals"):
        check_rule(rule, file=str(path), path="$.approvals")
    now = datetime.now(UTC)
    document = plan_of(
        found,
        json.loads(text),
        sha256(text),
        found.choose(given),
        policies,
        run_id=run_id or new_run_id(found.name, now),
        operator=getpass.getuser(),
        tool={"name": "anlan", "version": TOOL_VERSION},
        created_at=now,
        trigger=trigger,
        scheduled=scheduled,
    )
    return Planned(found, document, text, policies)


def _check_judging(step: Step, rules: Rules, file: str) -> None:
    """Raise InputError unless a step names a place and policies that exist."""
    from orchestrator.model.recovered import PLACES  # noqa: PLC0415

    path = f"step {step.id}, with"
    if (place := step.options.get("at")) not in PLACES:
        raise InputError(f"at: {place!r} is no place", " or ".join(PLACES), file=file, path=path)
    try:
        rules.chosen(step.options.get("policies", ()))
    except InputError as error:
        todo = error.todo or "add it to the policies, or run a copy of the drill without it"
        raise InputError(error.reason, todo, file=file, path=path) from error


def drills_folder(folder: Path | None) -> Path:
    return folder or data_folder("drills")


def load_drill(path: Path) -> Drill:
    from orchestrator.model.drill import parse_drill  # noqa: PLC0415
    from orchestrator.steps import VERBS  # noqa: PLC0415

    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(p.stem for p in sorted(path.parent.glob("*.yaml")))
        raise InputError(
            f"cannot read the drill: {error}", f"drills here: {known or 'none'}", file=str(path)
        ) from error
    return parse_drill(text, VERBS, file=str(path))


def drill_summary(drill: Drill) -> dict[str, Any]:
    return {
        "name": drill.name,
        "title": drill.title,
        "purpose": drill.purpose,
        "impact": drill.impact,
        "parameters": [vars(parameter) for parameter in drill.parameters],
        "targets": drill.targets,
        "digest": drill.digest,
    }


def usual_seconds(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """How long the last passed runs of a plan's drill took: median seconds, and of how many."""
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.model.fact import parse_timestamp  # noqa: PLC0415

    took, wanted = [], (made["drill"]["name"], made["environment"]["name"])
    for run in runs.history(common.state_directory()):
        about = run.plan["drill"]["name"], run.plan["environment"]["name"]
        if about == wanted and run.result and run.result["verdict"] == "pass":
            began, ended = (parse_timestamp(run.result[key]) for key in ("started_at", "ended_at"))
            took.append((ended - began).total_seconds())
    if not took:
        return None
    newest = took[-_ESTIMATED_FROM:]
    return {"seconds": round(statistics.median(newest), 1), "runs": len(newest)}


def show_plan(made: Mapping[str, Any], usual: Mapping[str, Any] | None) -> None:
    """Print a plan as a person reads it."""
    environment = made["environment"]["name"]
    out = common.console()
    out.print(
        f"[bold]{made['drill']['title']['en']}[/] on {environment} "
        f"(tier {made['environment']['tier']}), impact: {made['impact']}"
    )
    for key, value in made["targets"].items():
        out.print(f"target     {key} ≤ {value:g}")
    for key, value in made["parameters"].items():
        out.print(f"parameter  {key} = {value}")
    for number, step in enumerate(made["steps"], start=1):
        waits = after(step["needs"], [one["id"] for one in made["steps"][: number - 1]])
        out.print(
            f"{number:3}. {step['phase']:9} {step['title']['en']}"
            f"  [dim]{step['do']}, at most {step['timeout_seconds']:g} s[/]{waits}"
        )
    for line in (*_budget_lines(made), *rule_lines(made)):
        out.print(line)
    out.print(f"policies   {len(made['policies'])} files, judged after the last step")
    if usual:
        runs = "its last passed run" if usual["runs"] == 1 else f"{usual['runs']} passed runs"
        out.print(f"estimate   {usual['seconds']:g} s, by {runs} here")
    else:
        out.print("estimate   none: it never passed here")


def _budget_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """When a plan's run would end itself, as a line."""
    if (budget := made.get("abort")) is None:
        return
    limits = []
    if "error_rate" in budget:
        limits.append(f"more than {budget['error_rate']:.0%} of the writes fail")
    if "lag_bytes" in budget:
        limits.append(f"the standby lags by more than {budget['lag_bytes']} bytes")
    until = ", until its fault" if made["impact"] == "production" else ""
    yield f"abort      if {' or '.join(limits)}, for {budget['over_seconds']:g} s{until}"


def rule_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """What a plan's approval rule asks for, as lines."""
    from orchestrator.model import change_window  # noqa: PLC0415

    if (rule := made.get("approvals")) is None:
        return
    names = ", ".join(one["name"] for one in rule["approvers"])
    yield f"approvals  {rule['required']} of {names}; not of {made['operator']}, who plans it"
    for window in rule.get("change_windows", []):
        yield f"window     {change_window.text(window)}"


def after(needs: Sequence[str], before: Sequence[str]) -> str:
    """Which steps must be done first, where that is not just the one before."""
    if list(needs) == list(before[-1:]):
        return ""
    return f"  [dim]after {', '.join(str(before.index(one) + 1) for one in needs)}[/]"
