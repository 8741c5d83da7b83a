"""OSCAL assessment results: they fit NIST's own schema, and say no more than the run does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from run_samples import SAMPLES, contents_of

from orchestrator.report.build import build
from orchestrator.report.oscal import document
from orchestrator.report.oscal_controls import token
from orchestrator.report.view import View

SCHEMA = json.loads(
    (Path(__file__).parent / "oscal" / "oscal_assessment-results_schema.json").read_bytes()
)
Document = dict[str, Any]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    return {
        name: build(contents_of(tmp_path_factory.mktemp("run"), sample))
        for name, sample in SAMPLES.items()
    }


def errors(data: Document) -> list[str]:
    validator = jsonschema_rs.validator_for(SCHEMA, validate_formats=True)
    return [str(error) for error in validator.iter_errors(data)]


def result_of(data: Document) -> Document:
    result: Document = data["assessment-results"]["results"][0]
    return result


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_run_fits_the_schema_of_nist(views: dict[str, View], name: str, lang: str) -> None:
    assert errors(document(views[name], lang)) == []


def without_plan(data: Document) -> None:
    del data["assessment-results"]["import-ap"]


def third_state(data: Document) -> None:
    result_of(data)["findings"][0]["target"]["status"]["state"] = "unknown"


def number_as_id(data: Document) -> None:
    result_of(data)["findings"][0]["target"]["target-id"] = "10.5.1"


def no_time(data: Document) -> None:
    del result_of(data)["observations"][0]["collected"]


@pytest.mark.parametrize("broken", [without_plan, third_state, number_as_id, no_time])
def test_the_schema_refuses_what_is_broken(
    views: dict[str, View], broken: Callable[[Document], None]
) -> None:
    data = json.loads(json.dumps(document(views["inconclusive"])))
    broken(data)
    assert errors(data)


def test_what_is_not_satisfied_is_never_called_so(views: dict[str, View]) -> None:
    for view in views.values():
        found = {one["target"]["target-id"]: one for one in result_of(document(view))["findings"]}
        assert len(found) == len(view.findings) + 1
        for one in view.findings:
            state = found[one.policy]["target"]["status"]["state"]
            assert state == ("satisfied" if one.status == "satisfied" else "not-satisfied")
            props = {prop["name"]: prop["value"] for prop in found[one.policy]["props"]}
            assert props["status"] == one.status
        drill = found[f"drill-{view.drill}"]["target"]["status"]["state"]
        assert (drill == "satisfied") == (view.verdict == "pass")


def test_ids_are_made_of_the_run_and_every_reference_leads_somewhere(
    views: dict[str, View],
) -> None:
    first, other = (document(views[name]) for name in ("passed failover", "passed restore"))
    assert first == document(views["passed failover"])
    ids = _ids(first)
    assert len(ids) == len(set(ids))
    assert all(uuid.UUID(one).version == 5 for one in ids)
    assert not set(ids) & set(_ids(other))
    text = json.dumps(first)
    for key in ("observation-uuid", "subject-uuid", "actor-uuid", "component-uuid"):
        named = {one for one in _values(first, key)}
        assert named <= set(ids), key
        assert named
    hrefs = {one[1:] for one in _values(first, "href") if one.startswith("#")}
    assert hrefs <= set(ids)
    assert text.count("raw/facts.json") == 2  # title and place of the one resource


def _values(data: Any, key: str) -> list[str]:
    if isinstance(data, dict):
        mine = [data[key]] if key in data else []
        return mine + [one for inner in data.values() for one in _values(inner, key)]
    return [one for inner in data for one in _values(inner, key)] if isinstance(data, list) else []


def _ids(data: Any) -> list[str]:
    return _values(data, "uuid")


def test_observations_say_when_they_were_made_and_when_they_end(views: dict[str, View]) -> None:
    view = views["inconclusive"]
    found = result_of(document(view))["observations"]
    assert len(found) == 1 + sum(len(one.observations) for one in view.findings)
    for one in found[1:]:
        status = next(prop["value"] for prop in one["props"] if prop["name"] == "status")
        assert one["collected"] < one["expires"]
        assert status != "satisfied" or one["relevant-evidence"]
    times = set(_values(found, "collected"))
    assert max(times) <= view.ended_at


def test_reviewed_controls_are_those_of_the_catalogues(views: dict[str, View]) -> None:
    selections = result_of(document(views["passed failover"]))["reviewed-controls"][
        "control-selections"
    ]
    assert len(selections) == 1
    assert selections[0]["include-controls"] == [{"control-id": "law_art.-23-3"}]
    assert {"name": "control", "value": "law_art.-23-3 = Art. 23(3)"}.items() <= {
        key: value for prop in selections[0]["props"] for key, value in prop.items()
    }.items()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.5.1", "_10.5.1"), ("Art. 23(3)", "Art.-23-3"), ("", "none"), ("八 a", "八-a")],
)
def test_a_token_is_one(text: str, expected: str) -> None:
    assert token(text) == expected
