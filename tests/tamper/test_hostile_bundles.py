"""What is made to break or to stall the verifier: it is refused, in words, and soon.

With ANLAN_TAMPER=all every byte of every member and of the archive is flipped; else a sample.
"""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forgers import ALL, FAILED, SAMPLE, Good, build
from run_samples import POLICIES, REDERIVE, sha

from orchestrator.evidence import LocalSigner, Trust, bundle, verify
from orchestrator.evidence import layout as at
from orchestrator.evidence.bundle import PackageError
from orchestrator.evidence.tlog.proofs import parse_proof
from orchestrator.model.errors import InputError
from orchestrator.model.patterns import check_pattern
from orchestrator.model.yaml_text import load_yaml

SOON_SECONDS = 10.0
SAMPLES = 6


@contextmanager
def soon() -> Iterator[None]:
    """In processor time: the machine may be busy with other things."""
    began = time.process_time()
    yield
    assert time.process_time() - began < SOON_SECONDS


def refused(good: Good, packed: bytes) -> set[str]:
    """The codes that name what is wrong; asked of the library alone, for there are many."""
    with soon():
        found = verify(packed, Trust.of([good.signer.public_key]), REDERIVE)
    assert found.status != "VALID"
    assert found.problems
    return {problem.code for problem in found.problems}


def places(length: int, seed: str) -> list[int]:
    if ALL or length <= SAMPLES:
        return list(range(length))
    return random.Random(seed).sample(range(length), SAMPLES)


def test_no_byte_of_a_member_can_be_changed(good: Good) -> None:
    for member, content in good.contents.items():
        for where in places(len(content), member):
            changed = bytearray(content)
            changed[where] ^= 1 << where % 8
            refused(good, good.pack(**{member: bytes(changed)}))


def test_no_byte_of_the_archive_can_be_changed(good: Good) -> None:
    """All but the times of the members, which nobody reads, and what stands beside the modes."""
    for where in {*places(len(good.packed), "zip"), *places(len(good.packed), "again")}:
        changed = bytearray(good.packed)
        changed[where] ^= 1 << where % 8
        with soon():
            found = verify(bytes(changed), Trust.of([good.signer.public_key]), REDERIVE)
        if found.status == "VALID":
            assert bundle.unpack(bytes(changed)) == good.contents, where


HOSTILE_JSON = {
    "duplicate keys": b'{"a": 1, "a": 2}',
    "NaN": b'{"a": NaN}',
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": '{"é": 1}'.encode("latin-1"),
    "deep lists": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a huge integer": b'{"t": ' + b"9" * 1_000_000 + b"}",
    "a huge exponent": b'{"t": 1e999999999}',
    "half a character": b'{"run_id": "\\ud800"}',
    "very many values": b"[" + b"0," * 5_000_000 + b"0]",
    "a long text": b'"' + b"x" * 2**20 + b'"',
}


@pytest.mark.parametrize("member", [at.PLAN, at.RUN, at.FACTS, at.ENVIRONMENT, at.FINDINGS])
@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_with_a_valid_signature(good: Good, member: str, name: str) -> None:
    if name == "very many values" and member != at.FACTS and not ALL:
        pytest.skip("once is enough")
    refused(good, good.seal({member: HOSTILE_JSON[name]}))


@pytest.mark.parametrize("member", ["raw/steps.jsonl", "raw/ledger.jsonl", "raw/primaries.jsonl"])
@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_lines_of_a_journal(good: Good, member: str, name: str) -> None:
    if name == "very many values" and not ALL:
        pytest.skip("once is enough")
    refused(good, good.seal({member: good.contents[member] + HOSTILE_JSON[name] + b"\n"}))


@pytest.mark.parametrize("path", [*at.PROOFS.values(), at.GROWTH])
@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_proofs(good: Good, name: str, path: str) -> None:
    """As a whole, as what stands before the checkpoint, and as the entry that is proven."""
    if name == "very many values" and path != at.GROWTH and not ALL:
        pytest.skip("once is enough")
    content = HOSTILE_JSON[name]
    refused(good, good.seal({path: content}))
    refused(good, good.seal({path: content + b"\n\n" + good.contents[path]}))
    if path != at.GROWTH:
        proof = replace(parse_proof(good.contents[path]), leaf=content)
        refused(good, good.seal({path: proof.to_bytes()}))


HOSTILE_YAML = {
    "aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
    "an alias of itself": "a: &a [*a]\n",
    "merge keys": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30)),
    "deep brackets": "[" * 100_000,
    "deep dashes": "- " * 100_000 + "x",
    "deep questions": "? " * 100_000 + "x",
    "deep but sound": "[" * 60 + "]" * 60,
    "many keys": "\n".join(f"k{n}: 1" for n in range(20_000)),
    "a huge integer": f"a: {'9' * 1_000_000}",
    "sixties": "a: 1" + ":59" * 30_000,
    "a Python object": "a: !!python/object/apply:os.system [id]",
    "too long": "a: " + "x" * 5_000_000,
    "a time that is none": "a: 2026-99-99",
    "another encoding": "\x00\x01",
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml_among_the_policies(good: Good, name: str) -> None:
    refused(good, good.seal({"policy/tls.yaml": HOSTILE_YAML[name].encode()}))


@pytest.mark.parametrize("name", sorted(set(HOSTILE_YAML) - {"many keys", "sixties"}))
def test_hostile_yaml_is_refused_by_itself(name: str) -> None:
    with soon(), pytest.raises(InputError):
        load_yaml(HOSTILE_YAML[name])


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|aa)*$", "(.*)*b", "a*a*a*a*b", "(?=a)b", r"(a)\1", "(ab)*", "x" * 300, "("],
)
def test_a_pattern_that_may_run_away_is_refused(pattern: str) -> None:
    with pytest.raises(InputError):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["^[^*]+$", "%[mtn]", "^v?[0-9]+\\.[0-9]+$", "(a|b)c?", ""])
def test_a_pattern_that_cannot_is_not(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize("given", ["in the policy", "by a parameter"])
def test_a_pattern_of_a_signed_policy_does_not_stall_the_verifier(good: Good, given: str) -> None:
    literal = "'^(T+)+$'" if given == "in the policy" else "{parameter: minimum}"
    text = POLICIES["tls.yaml"].replace(
        "schema: {minimumVersion: {parameter: minimum}}",
        f"schema: {{type: string, pattern: {literal}}}",
    )
    environment = good.contents[at.ENVIRONMENT].replace(b'"TLSv1.3"', b'"^(T+)+$"')
    assert text != POLICIES["tls.yaml"]
    facts = good.contents[at.FACTS].replace(b'"TLSv1.3"', b'"' + b"T" * 60 + b'!"')
    packed = good.seal(
        {"policy/tls.yaml": text.encode(), at.FACTS: facts, at.ENVIRONMENT: environment}
    )
    assert "cannot-rederive" in refused(good, packed)


def test_steps_that_need_one_another_have_an_end(tmp_path: Path, signer: LocalSigner) -> None:
    def change(run_dir: Path) -> None:
        import json

        plan = json.loads((run_dir / "plan.json").read_bytes())
        for step in plan["steps"]:
            step["needs"] = [one["id"] for one in plan["steps"]]
        (run_dir / "plan.json").write_bytes(json.dumps(plan).encode())

    with soon():
        forged = build(tmp_path, SAMPLE, signer, prepare=change)
        forged.check(forged.packed)


def test_a_bundle_that_takes_too_long_is_given_up(good: Good) -> None:
    def for_ever(*_: Any) -> Any:
        while True:
            pass

    slow = replace(REDERIVE, drill=for_ever)
    limits = bundle.Limits(seconds=0.2)
    found = verify(good.packed, Trust.of([good.signer.public_key]), slow, limits=limits)
    assert found.status == "INVALID"
    assert "too-costly" in {problem.code for problem in found.problems}


def test_what_a_bundle_breaks_in_the_verifier_makes_it_invalid(
    good: Good, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr("orchestrator.evidence.bindings.check_run_identity", broken)
    found = verify(good.packed, Trust.of([good.signer.public_key]), REDERIVE)
    assert (found.status, found.summary) == ("INVALID", {})


def refused_package(content: bytes) -> str:
    with soon(), pytest.raises(PackageError) as caught:
        bundle.unpack(content)
    return caught.value.code


def members(*names: str, **changes: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in names:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name
            for key, value in changes.items():
                setattr(info, key, value)
            target.writestr(info, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize("names", [("a", "A"), ("raw/é", "raw/e\u0301"), ("x/ss", "x/ß")])
def test_names_that_some_file_systems_take_for_one(names: tuple[str, str]) -> None:
    assert refused_package(members(*names)) == "duplicate-member"


@pytest.mark.parametrize("name", ["a\0b", "a\\b", "a\u202eb", "a\u200bb", "a//b", "é\x7f"])
def test_names_that_deceive(name: str) -> None:
    assert refused_package(members(name)) in {"unsafe-path", "hidden-data", "damaged-archive"}


def test_very_many_tiny_members() -> None:
    assert refused_package(members(*(f"m{n}" for n in range(2_500)))) == "zip-bomb"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, 200_000_000, 0, 0)
    assert refused_package(b"\0" * 1_000 + end) == "zip-bomb"


def test_zip64() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target, target.open("a", "w", force_zip64=True) as stream:
        stream.write(b"x")
    assert refused_package(buffer.getvalue()) in {"hidden-data", "unsupported-member"}


def test_two_members_that_share_their_bytes() -> None:
    """The second entry of the directory points to the first member; junk makes up the sum."""
    content = members("a", "b")
    first = content.index(b"PK\3\4")
    second = content.index(b"PK\3\4", first + 1)
    changed = bytearray(content)
    entry = changed.rindex(b"PK\1\2")
    changed[entry + 42 : entry + 46] = struct.pack("<L", first)
    changed[second : second + 4] = b"JUNK"
    assert refused_package(bytes(changed)) in {"hidden-data", "damaged-archive"}


def test_a_member_with_two_different_headers() -> None:
    content = bytearray(members("a"))
    content[8:10] = struct.pack("<H", 8)  # deflated, says the local header alone
    assert refused_package(bytes(content)) == "hidden-data"


def test_the_failed_bundle_is_still_valid(failed: Good) -> None:
    """What is refused above is refused for a reason, not because everything is."""
    assert failed.check(failed.packed).status == "VALID"
    assert FAILED.lost and sha(b"") != sha(b"x")
