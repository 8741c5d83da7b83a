"""The files of the vectors: what the generator writes, and what a test compares with them."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from run_samples import REDERIVE

from orchestrator.evidence import Expectation, Verification, key_id, verify
from orchestrator.evidence.persons.approvals import load_rule
from orchestrator.evidence.tlog import log
from orchestrator.evidence.trust import file as trust_file
from orchestrator.model.canonical import sha256
from orchestrator.model.fact import parse_timestamp
from tests.vectors.case import Case
from tests.vectors.cases import make_cases
from tests.vectors.fixed import ENVIRONMENT, P256_ENVIRONMENT, PERSONS, ROTATED, rule
from tests.vectors.statements import make_statements
from tests.vectors.trusts import TRUSTS

FOLDER = Path(__file__).parent
LOG_ID = "0123456789abcdef"
"""A log that begins has a random one, which is in its origin."""
KEYS = {
    "environment": ENVIRONMENT,
    "environment-p256": P256_ENVIRONMENT,
    "rotated": ROTATED,
    **PERSONS,
}
_MEASURED = ("verdict", "rto_seconds", "rpo_seconds", "rpo_transactions")


def make_files() -> dict[str, bytes]:
    """Return path → content of every generated file. Raises AssertionError for a wrong answer."""
    files = {f"keys/{name}.pub": key.public_key_pem().encode() for name, key in KEYS.items()}
    files["rule.yaml"] = yaml.safe_dump(rule()).encode()
    files["stricter-rule.yaml"] = yaml.safe_dump(rule(required=2)).encode()
    files |= {f"trust/{name}.json": content for name, content in TRUSTS.items()}
    stated = []
    for kind, signed in make_statements().items():
        name = kind.split("/")[-2]
        file, key = f"statements/{name}.dsse.json", f"keys/{signed.signer}.pub"
        files[file] = signed.envelope
        stated.append({"file": file, "predicate_type": kind, "trust": key})
    with tempfile.TemporaryDirectory() as folder:
        with patch.object(log, "new_id", lambda: LOG_ID):
            cases = make_cases(Path(folder))
        files |= {case.file: case.content for case in cases if not case.same_as}
        for name, content in files.items():
            path = Path(folder) / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        bundles = [_expected(case, Path(folder) / "files") for case in cases]
    keys = {f"keys/{name}.pub": key_id(key.public_key) for name, key in KEYS.items()}
    index = {
        "schema": "anlan.test-vectors/v1",
        "keys": keys,
        "bundles": bundles,
        "statements": stated,
    }
    files["expected.json"] = (json.dumps(index, indent=1) + "\n").encode()
    return files


def _expected(case: Case, folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": case.name,
        "tamper_case": case.number,
        "file": case.file,
        "sha256": sha256((folder / case.file).read_bytes()),
        "trust": case.trusted,
        "options": dict(case.options),
    }
    found = verified(entry, folder)
    codes = sorted({one.code for one in found.problems})
    said = (case.name, found.status, codes, [one.message for one in found.problems])
    assert found.status == case.status, said
    assert (case.code in codes) if case.code else not codes, said
    measured = {name: found.summary[name] for name in _MEASURED} if not codes else None
    return {
        **entry,
        "status": found.status,
        "code": case.code,
        "codes": codes,
        "measured": measured,
    }


def verified(entry: Mapping[str, Any], folder: Path) -> Verification:
    """What the library says of a bundle, by the options of its entry in expected.json."""
    asked = entry["options"]
    expect = Expectation(
        asked.get("run", ""),
        asked.get("environment", ""),
        parse_timestamp(asked["not_before"]) if "not_before" in asked else None,
        load_rule(folder / asked["approvals"]) if "approvals" in asked else None,
    )
    threshold = int(asked["threshold"]) if "threshold" in asked else None
    trust = trust_file.load([folder / name for name in entry["trust"]], threshold)
    return verify(folder / entry["file"], trust, REDERIVE, expect=expect)


def arguments(entry: Mapping[str, Any], folder: Path) -> list[str]:
    """The arguments of `anlan evidence verify` for an entry of expected.json."""
    given = [str(folder / entry["file"]), "--json"]
    for name in entry["trust"]:
        given += ["--trust", str(folder / name)]
    for name, value in entry["options"].items():
        where = str(folder / value) if name == "approvals" else value
        given.append(f"--{name.replace('_', '-')}={where}")
    return given


def members(content: bytes) -> list[tuple[Any, ...]]:
    """What an archive holds, whatever packed it: zlib's output differs from build to build."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        comment, infos = archive.comment, archive.infolist()
        return [(comment,)] + [
            (one.filename, one.external_attr, one.date_time, one.CRC, one.file_size)
            for one in infos
        ]
