"""Drills as data: what a file may say, what an operator may choose, what the plan then holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.model.drill import Drill, Parameter, parse_drill, plan
from orchestrator.model.errors import InputError
from orchestrator.steps import VERBS
from tests.commands import CHECKOUT

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
DESCRIPTOR: dict[str, Any] = {
    "name": "local",
    "tier": "VIP",
    "deployment": {"digest": "0" * 64},
    "targets": {"rto_seconds": 30, "rpo_seconds": 0, "rpo_transactions": 0},
}


def load(name: str) -> Drill:
    path = CHECKOUT / "drills" / f"{name}.yaml"
    return parse_drill(path.read_text(), VERBS, file=str(path))


@pytest.mark.parametrize("path", sorted((CHECKOUT / "drills").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_drill_of_the_repository_is_valid_and_named_like_its_file(path: Any) -> None:
    drill = load(path.stem)
    assert drill.name == path.stem
    # What changes the world has an undo, or an earlier verb's; readiness changes nothing.
    assert any(VERBS[step.do].undo for step in drill.steps) != (drill.name == "readiness")


def test_the_plan_has_every_choice_made() -> None:
    drill = load("failover")
    chosen = drill.choose({"baseline_seconds": "10"})
    made = plan(
        drill,
        DESCRIPTOR,
        "1" * 64,
        chosen,
        {"tls.yaml": b"x"},
        run_id="failover-1",
        operator="ops",
        tool={"name": "anlan", "version": "0"},
        created_at=NOW,
    )
    by_id = {step["id"]: step for step in made["steps"]}
    assert by_id["observe-baseline"]["with"] == {"seconds": 10.0}
    assert by_id["observe-baseline"]["needs"] == ["start-primary-watch"]
    assert by_id["detect-failure"]["with"] == {
        "interval_seconds": 0.1,
        "misses": 3,
        "grace_seconds": 3.5,
    }
    assert made["targets"]["rto_seconds"] == 30
    assert "parameter" not in json.dumps(made["steps"])


def test_a_target_that_the_descriptor_lacks_is_named() -> None:
    drill = load("failover")
    with pytest.raises(InputError, match=r"targets\.rto_seconds"):
        plan(
            drill,
            {**DESCRIPTOR, "targets": {}},
            "1" * 64,
            drill.choose({}),
            {},
            run_id="failover-1",
            operator="ops",
            tool={"name": "anlan", "version": "0"},
            created_at=NOW,
        )


@pytest.mark.parametrize(
    ("parameter", "text", "said"),
    [
        (Parameter("n", "number", 1, "", minimum=1), "0.5", "below 1"),
        (Parameter("n", "number", 1, "", maximum=2), "3", "above 2"),
        (Parameter("n", "integer", 1, ""), "1.5", "no integer"),
        (Parameter("n", "number", 1, ""), "many", "no number"),
        (Parameter("s", "string", "a", "", choices=("a", "b")), "c", "none of a, b"),
        (Parameter("s", "string", "a", "", pattern="a+"), "ab", "does not match"),
    ],
)
def test_what_an_operator_may_not_choose(parameter: Parameter, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parameter.parse(text)


def test_not_a_number_is_no_number() -> None:
    with pytest.raises(InputError):
        Parameter("n", "number", 1, "", minimum=0, maximum=9).parse("nan")


@pytest.mark.parametrize("text", ["latest", "random", "2026-11-24T20:15:00+00:00"])
def test_targets_of_a_restore(text: str) -> None:
    assert load("restore").choose({"target": text})["target"] == text


def drill_text(*needs: str) -> str:
    step = "    do: check_environment\n    phase: prepare\n    timeout_seconds: 1\n"
    step += "    title: {en: x, zh: x}\n"
    parts = [
        f"  - id: step-{number}\n{step}" + (f"    needs: {needed}\n" if needed else "")
        for number, needed in enumerate(needs)
    ]
    words = "{en: x, zh: x}"
    return (
        f"schema: anlan.drill/v1\nname: x\ntitle: {words}\npurpose: {words}\nscenario: {words}\n"
        f"impact: none\nsteps:\n{''.join(parts)}"
    )


def test_a_step_needs_the_one_before_it_unless_the_drill_says_otherwise() -> None:
    drill = parse_drill(drill_text("", "", "[step-0]", "[step-1, step-2]"), VERBS)
    needs = [step.needs for step in drill.steps]
    assert needs == [(), ("step-0",), ("step-0",), ("step-1", "step-2")]


@pytest.mark.parametrize("needed", ["[step-1]", "[step-2]", "[nothing]"])
def test_a_step_can_only_need_one_before_it(needed: str) -> None:
    with pytest.raises(InputError, match="no step before this one has the id") as raised:
        parse_drill(drill_text("", needed, ""), VERBS, file="x.yaml")
    assert (raised.value.file, raised.value.path) == ("x.yaml", "$.steps[1].needs[0]")


RULE = {"schema": "anlan.approvals/v1", "required": 0, "approvers": []}


def plan_of(drill: Drill, **more: Any) -> dict[str, Any]:
    return plan(
        drill,
        {**DESCRIPTOR, "targets": {**DESCRIPTOR["targets"], "restore_rto_seconds": 300}, **more},
        "1" * 64,
        drill.choose({}),
        {},
        run_id="run-1",
        operator="ops",
        tool={"name": "anlan", "version": "0"},
        created_at=NOW,
    )


@pytest.mark.parametrize(("name", "asked"), [("failover", True), ("restore", False)])
def test_the_approval_rule_is_in_the_plans_of_drills_that_touch_production(
    name: str, asked: bool
) -> None:
    assert plan_of(load(name), approvals=RULE).get("approvals") == (RULE if asked else None)
    assert "approvals" not in plan_of(load(name))


def test_the_abort_budget_of_a_drill_is_in_its_plan() -> None:
    budget = {"error_rate": 0.5, "lag_bytes": 268435456, "over_seconds": 10}
    assert plan_of(load("failover"))["abort"] == budget
    assert "abort" not in plan_of(parse_drill(drill_text(""), VERBS))


@pytest.mark.parametrize(
    "budget", ["{over_seconds: 5}", "{error_rate: 2, over_seconds: 5}", "{lag_bytes: 1}"]
)
def test_an_abort_budget_that_limits_nothing_is_refused(budget: str) -> None:
    text = drill_text("").replace("steps:", f"abort: {budget}\nsteps:")
    with pytest.raises(InputError) as refused:
        parse_drill(text, VERBS, file="x.yaml")
    assert refused.value.path.startswith("$.abort")


@pytest.mark.parametrize("name", [path.stem for path in (CHECKOUT / "drills").glob("*.yaml")])
def test_what_breaks_production_has_an_abort_budget(name: str) -> None:
    drill = load(name)
    assert drill.abort or drill.impact != "production"
