"""The predicates: each fits its published schema when it is signed, and when it is believed."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_policy_list import load_script

from orchestrator.evidence import LocalSigner, dsse, predicates, schedules, statement
from orchestrator.evidence.audit import audit
from orchestrator.evidence.persons import said
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import canonical, sha256
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.schema import load_schema, validator
from tests.vectors.fixed import ENVIRONMENT, PERSONS, rule
from tests.vectors.statements import NOW, SCHEDULE, make_statements

ROOT = Path(__file__).parents[2]
MADE = make_statements()
TYPES = sorted(predicates.SCHEMAS)


def script() -> Any:
    return load_script(ROOT / "docs" / "reference" / "predicate_list.py")


def spoiled(predicate: Any) -> list[tuple[str, Any]]:
    """The predicate with each field, at every depth of ours, taken out, and one added."""
    found: list[tuple[str, Any]] = []
    for name in predicate:
        without = copy.deepcopy(predicate)
        del without[name]
        found.append((f"without {name}", without))
    found.append(("with more", {**copy.deepcopy(predicate), "more": 1}))
    found.append(("with another type", {**copy.deepcopy(predicate), "runId": 7}))
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_every_predicate_fits_its_schema_and_nothing_less_does(kind: str) -> None:
    data = MADE[kind].statement
    assert data["predicateType"] == kind
    predicates.check_statement(data)
    assert validator(predicates.SCHEMAS[kind]).is_valid(data["predicate"])
    for what, predicate in spoiled(data["predicate"]):
        assert not validator(predicates.SCHEMAS[kind]).is_valid(predicate), what
        with pytest.raises(InputError):
            predicates.check_statement({**data, "predicate": predicate})


@pytest.mark.parametrize("kind", TYPES)
def test_a_schema_has_the_published_name(kind: str) -> None:
    name = predicates.SCHEMAS[kind]
    assert load_schema(name)["$id"] == f"https://anlan.dev/schemas/{name}.schema.json"
    assert kind == f"https://anlan.dev/{name}/v1"


@pytest.mark.parametrize("old", ["dr-plan", "dr-schedule", "dr-approval", "policy-waiver"])
def test_no_former_spelling_is_a_type(old: str) -> None:
    with pytest.raises(InputError, match="no predicate type"):
        predicates.check_predicate(f"https://anlan.dev/predicates/{old}/v1", {"runId": "x"})


@pytest.mark.parametrize("kind", [predicates.APPROVAL, predicates.WAIVER, predicates.ACCESS_REVIEW])
def test_a_person_neither_says_nor_is_believed_what_does_not_fit(kind: str) -> None:
    key, data = PERSONS[MADE[kind].signer], MADE[kind].statement
    assert said.read(MADE[kind].envelope, rule(), kind).predicate == data["predicate"]
    for what, predicate in spoiled(data["predicate"]):
        with pytest.raises(InputError):
            said.say(kind, data["subject"], predicate, key)
        signed = sign({**data, "predicate": predicate}, key)
        with pytest.raises(said.NotSaidError) as error:
            said.read(signed, rule(), kind)
        assert error.value.how == "malformed", what


def sign(data: dict[str, Any], key: LocalSigner) -> bytes:
    return dsse.sign(canonical(data), statement.PAYLOAD_TYPE, key).to_bytes()


def test_a_schedule_that_does_not_fit_is_not_stated(tmp_path: Path) -> None:
    record = MADE[predicates.SCHEDULE].statement["predicate"]["record"]
    assert schedules.payload_of(record)
    for change in ({"tier": "gold"}, {"applied_at": "now"}, {"schedule": {**SCHEDULE, "x": 1}}):
        with pytest.raises(InputError):
            schedules.payload_of({**record, **change})


def test_a_logged_schedule_that_does_not_fit_is_no_schedule(tmp_path: Path) -> None:
    data = MADE[predicates.SCHEDULE].statement
    data["predicate"]["record"]["tier"] = "gold"
    payload = canonical(data)
    digest = sha256(payload)
    file = tmp_path / schedules.FOLDER / f"{digest}.dsse.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(sign(data, ENVIRONMENT))
    with log_of(tmp_path, "local", lambda: NOW + timedelta(seconds=1)).locked() as log:
        log.append([("schedule", "schedule-local", digest)], ENVIRONMENT)
        with pytest.raises(InfrastructureError, match="'gold' is not one of"):
            schedules.applied_to(tmp_path, "local", log.entries)
    found = audit(tmp_path, "local", [ENVIRONMENT.public_key])
    assert [one.code for one in found.problems] == ["bad-schedule"]


def test_the_committed_page_is_that_of_the_schemas() -> None:
    made = script()
    assert made.PAGE.read_text() == made.render(), (
        "run `uv run --no-sync docs/reference/predicate_list.py`, and commit what it writes"
    )


def test_every_type_and_field_is_on_the_page() -> None:
    page = script().render()
    for kind in TYPES:
        assert f"[`{kind}`]" in page
        for field in load_schema(predicates.SCHEMAS[kind])["properties"]:
            assert f"| `{field}` |" in page


def test_what_the_page_names_in_a_run_is_there() -> None:
    """The table of the field's terms names no field that a run does not have."""
    run = MADE[predicates.DR_DRILL].statement["predicate"]["run"]
    derived = set(run["derived"]) | set(run["derived"]["ledger"])
    for line in script()._TERMS.splitlines():
        for part in line.split("`"):
            if part.startswith("run."):
                assert set(part.split(".")[1:]) <= derived | set(run), json.dumps(part)
