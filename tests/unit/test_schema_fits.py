"""The fast yes of a schema is `jsonschema`'s, for good documents and for spoiled ones."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from run_samples import Sample, make_plan, write_plan, write_result

from orchestrator.evidence.predicates import SCHEMAS as SCHEMAS_OF
from orchestrator.model.errors import InputError
from orchestrator.model.fits import UnknownKeyword, compiled
from orchestrator.model.schema import check, load_schema, validator
from orchestrator.model.yaml_text import load_yaml
from tests.vectors.statements import make_statements

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "orchestrator/model/schemas"
NAMES = sorted(
    path.relative_to(SCHEMAS).as_posix().removesuffix(".schema.json")
    for path in SCHEMAS.rglob("*.json")
)
INSTEAD = [None, True, False, 0, 1, 1.0, 0.5, -1, "", "x", [], {}, [1, True], ["x", "x"], {"x": 1}]


@cache
def documents() -> dict[str, Any]:
    """A good document of each schema that runs are made of."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        write_plan(run, Sample())
        write_result(run, Sample())
        found = {
            "plan": json.loads((run / "plan.json").read_bytes()),
            "run": json.loads((run / "run.json").read_bytes()),
            "finding": json.loads((run / "findings.json").read_bytes()),
            "facts": json.loads((run / "raw/facts.json").read_bytes()),
            "recovered-facts": json.loads((run / "raw/recovered_facts.json").read_bytes()),
        }
    texts = {
        "policy": ROOT / "policies/tls.yaml",
        "catalogue": ROOT / "policies/catalogues/dora-rts-2024-1774.yaml",
        "drill": ROOT / "drills/failover.yaml",
    }
    stated = {
        SCHEMAS_OF[kind]: one.statement["predicate"] for kind, one in make_statements().items()
    }
    return found | stated | {name: load_yaml(path.read_text()) for name, path in texts.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_known(name: str) -> None:
    compiled(name, load_schema)


def test_a_schema_with_another_keyword_is_not() -> None:
    with pytest.raises(UnknownKeyword):
        compiled("x", lambda _: {"type": "object", "patternProperties": {}})


def test_a_plan_of_the_samples_fits() -> None:
    assert compiled("plan", load_schema)(make_plan(Sample(), b"", b""))


@pytest.mark.parametrize("name", sorted(documents()))
def test_it_says_of_spoiled_documents_what_jsonschema_says(name: str) -> None:
    fits, whole = compiled(name, load_schema), documents()[name]
    assert fits(whole)
    chance = random.Random(7)
    refused = 0
    for _ in range(150):
        spoiled = _spoil(copy.deepcopy(whole), chance)
        good = validator(name).is_valid(spoiled)
        refused += not good
        assert fits(spoiled) <= good, spoiled
        assert fits(spoiled) == good or "uniqueItems" in json.dumps(load_schema(name))
    assert refused > 20


def _spoil(data: Any, chance: random.Random) -> Any:
    """The document with a part of it, at a random depth, taken out or replaced."""
    above, key, part = None, None, data
    while isinstance(part, (dict, list)) and part and (above is None or chance.random() < 0.8):
        keys = list(part) if isinstance(part, dict) else range(len(part))
        above, key = part, chance.choice(list(keys))
        part = part[key]
    if chance.random() < 0.3:
        del above[key]
    elif chance.random() < 0.3 and isinstance(above, dict):
        above[f"{key}x"] = part
    else:
        above[key] = chance.choice(INSTEAD)
    return data


def test_of_another_file_than_was_meant_nothing_is_shown() -> None:
    """It may be somebody's private key."""
    with pytest.raises(InputError) as raised:
        check("-----BEGIN PRIVATE KEY-----", "schedule", file="nightly.yaml")
    assert str(raised.value).startswith("nightly.yaml: $: it is no object")
    assert "PRIVATE" not in str(raised.value)
