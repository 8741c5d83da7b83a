"""The published test vectors: both verifiers give the expected answers, and the code makes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli.verify import verify
from orchestrator.evidence import dsse, key_id, load_public_key, predicates
from orchestrator.evidence.statement import PAYLOAD_TYPE
from orchestrator.model.canonical import canonical_loads, sha256
from tests.standalone import Twin
from tests.vectors.files import FOLDER, arguments, make_files, members

AGAIN = "regenerate with `uv run --no-sync python -m tests.vectors`, and commit what it writes"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_bytes())
BUNDLES = {one["name"]: one for one in EXPECTED["bundles"]}


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    made = make_files()
    folders = {name.partition("/")[0] for name in made if "/" in name}
    there = {
        path.relative_to(FOLDER).as_posix()
        for folder in folders
        for path in (FOLDER / folder).iterdir()
    }
    assert there == {name for name in made if "/" in name}, AGAIN
    for name, content in made.items():
        kept = (FOLDER / name).read_bytes()
        if name.endswith(".zip") and kept != content:  # zlib's output differs from build to build
            assert members(kept) == members(content), f"{name}: {AGAIN}"
        elif name == "expected.json":
            digests = {name: sha256(data) for name, data in made.items()}
            told = json.loads(content)
            for one, other in zip(told["bundles"], EXPECTED["bundles"], strict=True):
                assert one.pop("sha256") == digests[one["file"]]
                assert {**one, "sha256": other["sha256"]} == other, AGAIN
            assert {**told, "bundles": 0} == {**EXPECTED, "bundles": 0}, AGAIN
        else:
            assert kept == content, f"{name}: {AGAIN}"


def test_the_vectors_are_small_and_their_digests_are_told() -> None:
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.suffix != ".pyc")
    assert size < 2_000_000
    for one in BUNDLES.values():
        assert sha256((FOLDER / one["file"]).read_bytes()) == one["sha256"], one["name"]


def check(code: int, answer: dict[str, Any], expected: dict[str, Any]) -> None:
    named = {one["code"] for one in answer["problems"]}
    assert answer["status"] == expected["status"], (answer["problems"], AGAIN)
    assert sorted(named) == expected["codes"], (answer["problems"], AGAIN)
    assert code == (0 if expected["status"] == "VALID" else 1)
    if expected["code"] is not None:
        assert expected["code"] in named
    for name, value in (expected["measured"] or {}).items():
        assert answer["summary"][name] == value


@pytest.mark.parametrize("name", BUNDLES)
def test_both_verifiers_give_the_expected_answer(name: str, twin: Twin) -> None:
    given = arguments(BUNDLES[name], FOLDER)
    result = CliRunner().invoke(verify, given, standalone_mode=False)
    assert result.exception is None, result.exception
    check(result.return_value, json.loads(result.output), BUNDLES[name])
    code, out, err = twin.ask(*given)
    assert (out, err) == (result.output, "")
    check(code, json.loads(out), BUNDLES[name])


def test_there_is_a_vector_of_every_status_and_every_verdict() -> None:
    assert {one["status"] for one in BUNDLES.values()} == {
        *("VALID", "INVALID", "INCOMPLETE", "UNTRUSTED", "STALE")
    }
    verdicts = {one["measured"]["verdict"] for one in BUNDLES.values() if one["measured"]}
    assert verdicts == {"pass", "fail", "inconclusive"}


def test_there_is_a_statement_of_every_type_and_its_key_verifies_it() -> None:
    found = {one["predicate_type"]: one for one in EXPECTED["statements"]}
    assert set(found) == set(predicates.SCHEMAS)
    for kind, one in found.items():
        envelope = dsse.parse((FOLDER / one["file"]).read_bytes())
        key = load_public_key(FOLDER / one["trust"])
        assert dsse.verify(envelope, PAYLOAD_TYPE, [key]) == {key_id(key)}
        data = canonical_loads(envelope.payload)
        assert data["predicateType"] == kind
        predicates.check_statement(data)


def test_every_key_has_the_id_that_is_told() -> None:
    for file, told in EXPECTED["keys"].items():
        assert key_id(load_public_key(FOLDER / file)) == told
