"""The policies of the repository load; what is wrong with a file is said with file and path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.collect import KINDS
from orchestrator.model.errors import InputError
from orchestrator.model.schema import load_schema
from orchestrator.policy import Parameters, Rules, decode_rules, parse_rules

FOLDER = Path(__file__).parents[2] / "policies"
ENVIRONMENT = {
    "sites": {"a": {}, "b": {}},
    "tls": {"minimum_version": "TLSv1.3", "renew_before_hours": 720},
    "retention": {"audit_days": 184, "object_lock_days": 1},
}


def files() -> dict[str, str]:
    return {
        path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*.yaml")
    }


@pytest.fixture(scope="module")
def rules() -> Rules:
    return parse_rules(files())


def test_every_policy_loads_and_its_parameters_resolve(rules: Rules) -> None:
    parameters = Parameters(ENVIRONMENT, rules.baseline)
    for policy in rules.policies:
        resolved = parameters.resolve(policy)
        used = {item.value["parameter"] for item in policy.must if isinstance(item.value, dict)}
        assert used == set(resolved), policy.id


def test_every_kind_of_fact_has_a_collector_and_a_policy(rules: Rules) -> None:
    items = load_schema("policy")["properties"]["policies"]["items"]
    kinds = set(items["properties"]["applies_to"]["enum"])
    assert kinds == set(KINDS)
    assert {policy.applies_to for policy in rules.policies} == kinds


def test_every_baseline_list_is_used_and_every_entry_has_a_reason(rules: Rules) -> None:
    used = {
        value["baseline"]
        for policy in rules.policies
        for value in policy.parameters.values()
        if isinstance(value, dict) and "baseline" in value
    }
    assert used == set(rules.baseline)


def test_titles_are_in_both_languages(rules: Rules) -> None:
    for policy in rules.policies:
        assert policy.title["en"].isascii(), policy.id
        assert any("一" <= letter <= "鿿" for letter in policy.title["zh"]), policy.id


def broken(change: Any, file: str = "tls.yaml") -> InputError:
    texts = files()
    texts[file] = change(texts[file])
    with pytest.raises(InputError) as caught:
        parse_rules(texts)
    return caught.value


def edited(edit: Any) -> Any:
    """A change of the first policy of a file."""

    def change(text: str) -> str:
        document = yaml.safe_load(text)
        edit(document["policies"][0])
        return yaml.safe_dump(document, allow_unicode=True)

    return change


@pytest.mark.parametrize(
    ("edit", "path", "reason"),
    [
        (lambda policy: policy.update(severity="dire"), "$.policies[0].severity", "dire"),
        (lambda policy: policy.pop("why"), "$.policies[0]", "'why' is a required property"),
        (lambda policy: policy.update(weight=1), "$.policies[0]", "weight"),
        (lambda policy: policy["title"].pop("zh"), "$.policies[0].title", "zh"),
        (
            lambda policy: policy["must"][1].update(value={"parameter": "maximum"}),
            "$.policies[0].must[1].value",
            "'maximum' is not declared",
        ),
        (
            lambda policy: policy["must"][0].update({"is": "like"}),
            "$.policies[0].must[0].is",
            "like",
        ),
        (
            lambda policy: policy.update(subjects=["nowhere"]),
            "$.policies[0].subjects[0]",
            "nowhere",
        ),
        (lambda policy: policy.update(id="tls-version-object-store"), "$.policies[1].id", "twice"),
    ],
)
def test_a_wrong_policy_is_named_by_file_path_and_reason(edit: Any, path: str, reason: str) -> None:
    error = broken(edited(edit))
    assert (error.file, error.path) == ("policies/tls.yaml", path)
    assert reason in error.reason
    assert error.exit_code == 2


def test_text_that_is_no_yaml_is_named_by_line_and_column() -> None:
    error = broken(lambda text: text.replace("severity: high", "severity: [high", 1))
    assert error.file == "policies/tls.yaml"
    assert error.path.startswith("line ")


def test_a_key_given_twice_is_no_silent_choice() -> None:
    error = broken(
        lambda text: text.replace("severity: high", "severity: low\n    severity: high", 1)
    )
    assert "duplicate key 'severity'" in error.reason


def test_an_id_that_another_file_uses_is_refused() -> None:
    error = broken(edited(lambda policy: policy.update(id="audit-secrets")))
    assert error.file == "policies/tls.yaml"
    assert "audit.yaml" in error.reason


def test_a_baseline_entry_without_a_reason_is_refused() -> None:
    def change(text: str) -> str:
        document = yaml.safe_load(text)
        del document["lists"]["database_roles"][0]["reason"]
        return yaml.safe_dump(document)

    error = broken(change, "baseline/database.yaml")
    assert error.file == "policies/baseline/database.yaml"
    assert error.path == "$.lists.database_roles[0]"


def test_a_baseline_that_does_not_exist_is_refused(rules: Rules) -> None:
    policy = next(item for item in rules.policies if item.id == "database-roles")
    with pytest.raises(InputError, match="no list 'database_roles' in policies/baseline"):
        Parameters(ENVIRONMENT, {}).resolve(policy)


def test_a_file_that_is_not_utf8_is_named() -> None:
    with pytest.raises(InputError, match=r"policies/tls\.yaml: not UTF-8"):
        decode_rules({"tls.yaml": b"schema: \xff"})
