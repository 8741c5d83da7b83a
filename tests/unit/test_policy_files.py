"""The policies of the repository load and hold their examples; a wrong file is named by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.collect.kinds import KINDS, OF_RECORDS
from orchestrator.model.conditions import references
from orchestrator.model.errors import InputError
from orchestrator.model.fact_kinds import RECORD_KINDS, fact_kinds
from orchestrator.model.yaml_text import load_yaml
from orchestrator.policy import Parameters, Rules, decode_rules, parse_rules
from orchestrator.policy.examples import try_examples

FOLDER = Path(__file__).parents[2] / "policies"
ENVIRONMENT = {
    "sites": {"a": {}, "b": {}},
    "tls": {"minimum_version": "TLSv1.3", "renew_before_hours": 720},
    "retention": {"audit_days": 184, "backup_full": 2, "object_lock_days": 1},
}


def files() -> dict[str, str]:
    return {
        path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*.yaml")
    }


@pytest.fixture(scope="module")
def rules() -> Rules:
    return parse_rules(files())


def test_every_policy_loads_and_its_parameters_resolve_and_are_used(rules: Rules) -> None:
    parameters = Parameters(ENVIRONMENT, rules.baseline)
    for policy in rules.policies:
        used = {name for one in (*policy.where, *policy.must) for name in references(one.schema)}
        assert used == set(parameters.resolve(policy)), policy.id


def test_both_readers_of_yaml_read_the_rules_alike() -> None:
    """The standalone verifier has no libyaml."""
    for name, text in files().items():
        assert load_yaml(text) == yaml.load(text, yaml.SafeLoader), name


def test_every_policy_holds_its_examples(rules: Rules) -> None:
    tried = [one for policy in rules.policies for one in try_examples(policy)]
    assert [one for one in tried if one.wrong] == []
    assert len(tried) >= 6 * len(rules.policies)


def test_every_kind_of_fact_has_a_collector_and_a_policy(rules: Rules) -> None:
    # What is planned is no observation: the policy pack derives it (policies/crossguard).
    collected = {*KINDS, *OF_RECORDS}
    assert set(fact_kinds()) - {"plan"} == collected == {policy.kind for policy in rules.policies}
    assert set(OF_RECORDS) == RECORD_KINDS


def test_every_baseline_list_is_used_and_every_entry_has_a_reason(rules: Rules) -> None:
    used = {
        value["baseline"]
        for policy in rules.policies
        for value in policy.parameters.values()
        if isinstance(value, dict) and "baseline" in value
    }
    assert used == set(rules.baseline)


def test_every_text_is_in_both_languages(rules: Rules) -> None:
    for policy in rules.policies:
        for text in (policy.title, policy.rationale, policy.remediation.text):
            assert any("一" <= letter <= "鿿" for letter in text["zh"]), policy.id
            assert not any("一" <= letter <= "鿿" for letter in text["en"]), policy.id


def broken(change: Any, file: str = "tls.yaml") -> tuple[InputError, str]:
    """The error for a changed file, and the line of that file that it names."""
    texts = files()
    texts[file] = change(texts[file])
    with pytest.raises(InputError) as caught:
        parse_rules(texts)
    name, _, line = caught.value.file.partition(":")
    assert name.startswith("policies/")
    return caught.value, texts[name.removeprefix("policies/")].splitlines()[int(line or 1) - 1]


def edited(edit: Any) -> Any:
    """A change of the first policy of a file."""

    def change(text: str) -> str:
        document = yaml.safe_load(text)
        edit(document["policies"][0])
        return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)

    return change


def must(**change: Any) -> Any:
    """An edit of the second condition (negotiated_version, a text) of the first policy."""
    return lambda policy: policy["must"][1].update(change)


WRONG = [
    # the edit, the line that is named, the reason, what to do
    (lambda p: p.update(severity="P9"), "severity: P9", "'P9' is not one of", ""),
    (lambda p: p.pop("rationale"), "- id: tls-version", "'rationale' is a required", ""),
    (lambda p: p.update(weight=1), "weight: 1", "weight", ""),
    (lambda p: p.update(severty="P1"), "severty: P1", "severty", "did you mean severity?"),
    (lambda p: p["title"].pop("zh"), "title:", "zh", ""),
    (lambda p: p.update(subjects=["nowhere"]), "- nowhere", "nowhere", ""),
    (lambda p: p.update(facts="tls_endpont"), "facts: tls_endpont", "no kind", "tls_endpoint?"),
    (
        must(schema={"minimumVersion": {"parameter": "minimun"}}),
        "schema:",
        "'minimun' is not declared",
        "did you mean minimum?",
    ),
    (must(field="negotiated_vers"), "field: negotiated_vers", "no field", "negotiated_version?"),
    (must(field="cipher[]"), "field: cipher[]", "is no list", "leave out"),
    (must(schema={"minimun": 3}), "minimun: 3", "no keyword", "did you mean minimum?"),
    (must(schema={"minimum": 3}), "minimum: 3", "says nothing", "write type: number"),
    (must(schema={"type": "number", "minimum": 3}), "schema:", "the field is of type string", ""),
    (must(schema={"const": 3}), "schema:", "the field is of type string", ""),
    (must(schema={"type": "text"}), "type: text", "'text' is not valid", ""),
    (must(schema={"minimumVersion": "TLS9"}), "minimumVersion: TLS9", "cannot be 'TLS9'", ""),
    (must(schema={"onlyMatching": "x"}), "onlyMatching: x", "cannot be 'x'", ""),
    (must(schema={}), "schema: {}", "", ""),
    (
        must(schema={"type": "string", "minLength": 5, "maxLength": 4}),
        "schema:",
        "nothing is at least",
        "",
    ),
    (lambda p: p.update(id="tls-version-object-store"), "- id: tls-version-object", "twice", ""),
]


@pytest.mark.parametrize(("edit", "line", "reason", "todo"), WRONG)
def test_a_wrong_policy_is_named_by_file_line_and_reason(
    edit: Any, line: str, reason: str, todo: str
) -> None:
    error, named = broken(edited(edit))
    assert error.file.startswith("policies/tls.yaml:")
    assert line in named
    assert reason in error.reason
    assert todo in error.todo
    assert error.exit_code == 2


def test_text_that_is_no_yaml_is_named_by_line_and_column() -> None:
    error, _ = broken(lambda text: text.replace("severity: P1", "severity: [P1", 1))
    assert error.file == "policies/tls.yaml"
    assert error.path.startswith("line ")


def test_a_key_given_twice_is_no_silent_choice() -> None:
    error, _ = broken(
        lambda text: text.replace("severity: P1", "severity: P2\n    severity: P1", 1)
    )
    assert "duplicate key 'severity'" in error.reason


def test_an_id_that_another_file_uses_is_refused() -> None:
    error, _ = broken(edited(lambda policy: policy.update(id="audit-secrets")))
    assert error.file == "policies/tls.yaml"
    assert "audit.yaml" in error.reason


def test_a_baseline_entry_without_a_reason_is_refused() -> None:
    def change(text: str) -> str:
        document = yaml.safe_load(text)
        del document["lists"]["database_roles"][0]["reason"]
        return yaml.safe_dump(document)

    error, line = broken(change, "baseline/database.yaml")
    assert error.file.startswith("policies/baseline/database.yaml:")
    assert error.path == "$.lists.database_roles[0]"
    assert "name:" in line


def test_a_baseline_that_does_not_exist_is_refused(rules: Rules) -> None:
    policy = next(item for item in rules.policies if item.id == "database-roles")
    with pytest.raises(InputError, match="no list 'database_roles' in policies/baseline"):
        Parameters(ENVIRONMENT, {}).resolve(policy)


def test_a_file_that_is_not_utf8_is_named() -> None:
    with pytest.raises(InputError, match=r"policies/tls\.yaml: not UTF-8"):
        decode_rules({"tls.yaml": b"schema: \xff"})


def test_an_example_that_leads_elsewhere_is_told() -> None:
    document = yaml.safe_load((FOLDER / "audit.yaml").read_text())
    policy = next(one for one in document["policies"] if one["id"] == "audit-retention")
    policy["examples"][1]["data"]["retention_days"] = 200
    text = yaml.safe_dump({**document, "policies": [policy]}, allow_unicode=True)
    (wrong,) = [one for one in try_examples(parse_rules({"x.yaml": text}).policies[0]) if one.wrong]
    assert (wrong.name, wrong.status) == ("example 2", "satisfied")


def test_an_example_that_no_collector_could_see_is_told() -> None:
    document = yaml.safe_load((FOLDER / "audit.yaml").read_text())
    policy = next(one for one in document["policies"] if one["id"] == "audit-retention")
    policy["examples"][0]["data"]["retention_days"] = "half a year"
    text = yaml.safe_dump({**document, "policies": [policy]}, allow_unicode=True)
    tried = try_examples(parse_rules({"x.yaml": text}).policies[0])
    assert "$.retention_days: 'half a year' is not of type 'integer'" in tried[0].wrong
