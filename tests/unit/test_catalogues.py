"""The catalogues of controls: they load, and name only policies and drills that are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from orchestrator.model.catalogue import Catalogue, CatalogueControl
from orchestrator.model.errors import InputError
from orchestrator.policy import Rules, parse_rules

ROOT = Path(__file__).parents[2]
CATALOGUES = sorted((ROOT / "policies" / "catalogues").glob("*.yaml"))
EXPECTED = {
    "cn-csl-2026",
    "cn-mlps-2.0-level-3",
    "dora",
    "dora-rts-2024-1774",
    "gdpr",
    "hipaa-security-rule",
    "iso-27001-2022",
    "nis2",
    "nist-800-53-r5",
    "pci-dss-4.0",
    "soc2-2017",
}


def files() -> dict[str, str]:
    folder = ROOT / "policies"
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.yaml")}


@pytest.fixture(scope="module")
def rules() -> Rules:
    return parse_rules(files())


def controls(rules: Rules) -> list[tuple[Catalogue, CatalogueControl]]:
    return [(one, item) for one in rules.catalogues.values() for item in one.controls]


def test_every_catalogue_is_there_in_a_file_of_its_name(rules: Rules) -> None:
    assert set(rules.catalogues) == EXPECTED == {path.stem for path in CATALOGUES}
    names = Counter(one.name for one in rules.catalogues.values())
    assert set(names.values()) == {1}, "a finding cites a control by the catalogue's name"


def test_every_drill_that_a_control_names_is_there(rules: Rules) -> None:
    drills = {path.stem for path in (ROOT / "drills").glob("*.yaml")}
    for catalogue, control in controls(rules):
        assert set(control.drills) <= drills, f"{catalogue.id} {control.id}"


def test_every_drill_and_every_policy_is_evidence_for_a_control(rules: Rules) -> None:
    drills = {path.stem for path in (ROOT / "drills").glob("*.yaml")}
    assert drills == {name for _, control in controls(rules) for name in control.drills}
    assert {policy.id for policy in rules.policies} == set(rules.controls)


def test_every_text_is_there_in_both_languages(rules: Rules) -> None:
    for catalogue, control in controls(rules):
        for text in (control.title, control.condition, control.unproven):
            where = f"{catalogue.id} {control.id}"
            assert text["en"].isascii(), where
            assert any("一" <= letter <= "鿿" for letter in text["zh"]), where


def test_a_control_of_which_nothing_is_looked_at_says_so(rules: Rules) -> None:
    silent = [item for _, item in controls(rules) if not item.policies and not item.drills]
    assert silent, "a reader finds what stays unproven too"
    assert all(len(item.unproven["en"]) > 30 for item in silent)


def test_an_id_that_a_catalogue_has_twice_is_refused_by_its_line() -> None:
    texts = files()
    name = "catalogues/gdpr.yaml"
    document = yaml.safe_load(texts[name])
    document["controls"].append(document["controls"][0])
    texts[name] = yaml.safe_dump(document, allow_unicode=True)
    with pytest.raises(InputError, match=r"gdpr\.yaml:\d+: .*is there twice"):
        parse_rules(texts)


def test_a_policy_that_only_a_catalogue_names_is_refused() -> None:
    texts = files()
    name = "catalogues/pci-dss-4.0.yaml"
    texts[name] = texts[name].replace("[clocks-in-step]", "[clocks-in-stop]")
    with pytest.raises(InputError, match="did you mean clocks-in-step"):
        parse_rules(texts)
