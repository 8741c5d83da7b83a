"""A secret in a bundle is named, whoever signed it; so is a mark that nobody listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from forgers import SAMPLE, Good, build

from orchestrator.evidence import LocalSigner, redaction
from orchestrator.evidence import layout as at
from orchestrator.model.canonical import sha256

TOKEN = "hvs.CAESIJ8wq2Zk3tYbXn4Lr7PfVd0Hs6Gc"  # of no server
NOTE = {"kind": "note", "t": 1, "name": "said", "data": {"error": f"403 for {TOKEN}"}}


def found_by(good: Good) -> set[tuple[str, str]]:
    found = good.check(good.packed)
    assert found.status == "INVALID"
    assert TOKEN not in json.dumps(found.to_json())
    return {(problem.code, problem.path) for problem in found.problems}


def in_a_file(run_dir: Path) -> None:
    (run_dir / "raw/stray.json").write_text(json.dumps({"output": f"token {TOKEN}"}))


def in_a_line(run_dir: Path) -> None:
    with (run_dir / "raw/availability.jsonl").open("a") as stream:
        stream.write(json.dumps(NOTE) + "\n")


@pytest.mark.parametrize(
    ("plant", "path"), [(in_a_file, "raw/stray.json"), (in_a_line, "raw/availability.jsonl")]
)
def test_a_token_in_validly_signed_raw_data_is_named(
    tmp_path: Path,
    signer: LocalSigner,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path], None],
    path: str,
) -> None:
    monkeypatch.setattr(redaction, "refuse", lambda _: None)  # a recorder that does not look
    assert found_by(build(tmp_path, SAMPLE, signer, plant)) == {("secret-found", path)}


def test_a_token_in_a_policy_that_was_logged_with_the_plan_is_named(
    tmp_path: Path, signer: LocalSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "refuse", lambda _: None)

    def prepare(run_dir: Path) -> None:
        file = run_dir / "policies/tls.yaml"
        file.write_text(f"{file.read_text()}# {TOKEN}\n")
        plan = json.loads((run_dir / "plan.json").read_bytes())
        plan["policies"]["tls.yaml"] = sha256(file.read_bytes())
        (run_dir / "plan.json").write_text(json.dumps(plan))

    good = build(tmp_path, SAMPLE, signer, prepare=prepare)
    assert ("secret-found", "policy/tls.yaml") in found_by(good)


def redacted(run_dir: Path) -> None:
    in_a_line(run_dir)
    file = run_dir / "raw/availability.jsonl"
    file.write_bytes(redaction.redact(file.read_bytes()))


def test_redacted_data_are_valid_with_their_list_alone(tmp_path: Path, signer: LocalSigner) -> None:
    def listed(run_dir: Path) -> None:
        redacted(run_dir)
        marks = redaction.redacted(at.read_run_directory(run_dir))
        (run_dir / redaction.FILE).write_text(json.dumps(marks))

    good = build(tmp_path / "listed", SAMPLE, signer, listed)
    assert good.check(good.packed).status == "VALID"
    assert json.loads(good.contents[redaction.FILE])["redactions"] == [
        {"file": "raw/availability.jsonl", "secret": "vault-token", "count": 1}
    ]
    silent = build(tmp_path / "silent", SAMPLE, signer, redacted)
    assert found_by(silent) == {("redaction-mismatch", redaction.FILE)}
