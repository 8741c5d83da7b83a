"""Access reviews: what differs from a review, whose review counts, and the reviewer's sheet."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from openpyxl import load_workbook
from openpyxl.workbook import Workbook

from orchestrator.cli import access, signing
from orchestrator.collect.access_secrets import policy_rules
from orchestrator.evidence import EvidenceStore
from orchestrator.evidence.audit import audit
from orchestrator.evidence.keys import LocalSigner
from orchestrator.evidence.persons.access_reviews import (
    KEEP,
    REMOVE,
    Decision,
    ReviewError,
    read_review,
    sign_review,
)
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.access import Right, compare, rights_of
from orchestrator.model.canonical import canonical
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.report.access_sheet import System, read_sheet, write_sheet

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LOGIN = Right("erp", "login", "the server", "", ("LOGIN",))
OWNER = Right("erp", "login", "database erp", "", ("CONNECT", "CREATE"))
FORMULA = Right("=HYPERLINK(1)", "user", "the ERP", "", ("administrator", "login"))
SYSTEMS = [
    System("common/erp", "ERP", [FORMULA]),
    System("common/postgresql", "PostgreSQL", [LOGIN, OWNER]),
]
ALICE, MALLORY = (LocalSigner(Ed25519PrivateKey.generate()) for _ in range(2))


def rule(**reviewers: LocalSigner) -> dict[str, Any]:
    """The approval rule with these persons."""
    approvers = [
        {"name": name, "public_key": one.public_key_pem()} for name, one in reviewers.items()
    ]
    return {"schema": "anlan.approvals/v1", "required": 1, "approvers": approvers}


REVIEWERS = rule(alice=ALICE)


# The difference --------------------------------------------------------------------------------


def test_rows_of_one_place_are_one_right() -> None:
    rows = [("erp", "login", "the server", "", may) for may in ("LOGIN", "CREATEDB", "LOGIN")]
    assert rights_of(rows) == [Right("erp", "login", "the server", "", ("CREATEDB", "LOGIN"))]


def test_new_gone_changed_and_unremoved_rights_are_told() -> None:
    more = dataclasses.replace(LOGIN, may=("LOGIN", "SUPERUSER"))
    new = Right("eve", "login", "the server", "", ("LOGIN",))
    found = compare([LOGIN, OWNER], [FORMULA], [more, new, FORMULA])
    assert found.new == ("eve on the server: LOGIN",)
    assert found.changed == ("erp on the server: LOGIN, SUPERUSER, reviewed as LOGIN",)
    assert found.gone == ("erp on database erp: CONNECT, CREATE",)
    assert found.to_remove == (f"{FORMULA}",)
    same = compare([LOGIN, OWNER], [FORMULA], [OWNER, LOGIN])
    assert not any(vars(same).values())


# The signed review -----------------------------------------------------------------------------


def signed(signer: LocalSigner = ALICE, reviewers: dict[str, Any] = REVIEWERS) -> bytes:
    decisions = {
        "common/postgresql": [Decision(LOGIN, KEEP), Decision(OWNER, REMOVE, "too much", "alice")],
    }
    return sign_review("local", decisions, reviewers, signer, reason="yearly", now=NOW)[1]


def test_a_review_is_read_back_as_it_was_signed() -> None:
    review = read_review(signed(), "local", REVIEWERS, NOW)
    assert (review.reviewer, review.at, review.reason) == ("alice", NOW, "yearly")
    assert review.rights("common/postgresql", KEEP) == [LOGIN]
    assert review.rights("common/postgresql", REMOVE) == [OWNER]
    assert review.rights("common/erp", KEEP) == []


def test_a_key_of_no_reviewer_signs_nothing() -> None:
    with pytest.raises(Refused, match="is of no reviewer of local"):
        signed(MALLORY)
    with pytest.raises(Refused, match="nobody may review"):
        signed(ALICE, {})


def changed(edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The review with its payload edited and the old signature."""
    envelope = json.loads(signed())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    edit(payload)
    envelope["payload"] = base64.b64encode(canonical(payload)).decode()
    return canonical(envelope)


def add_a_right(payload: dict[str, Any]) -> None:
    payload["predicate"]["decisions"]["common/postgresql"].append(
        {"right": FORMULA.to_json(), "word": KEEP, "comment": "", "reviewer": ""}
    )


def keep_all(payload: dict[str, Any]) -> None:
    for one in payload["predicate"]["decisions"]["common/postgresql"]:
        one["word"] = KEEP


def later(payload: dict[str, Any]) -> None:
    payload["predicate"]["at"] = "2027-11-28T12:00:00.000Z"


@pytest.mark.parametrize("edit", [add_a_right, keep_all, later])
def test_an_edited_review_does_not_count(edit: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(ReviewError, match="signature does not hold"):
        read_review(changed(edit), "local", REVIEWERS, NOW)


def test_a_review_by_somebody_else_of_elsewhere_or_of_tomorrow_does_not_count() -> None:
    with pytest.raises(ReviewError, match="signed by no reviewer's key"):
        read_review(signed(MALLORY, rule(alice=MALLORY)), "local", REVIEWERS, NOW)
    with pytest.raises(ReviewError, match="is of environment 'local'"):
        read_review(signed(), "production", REVIEWERS, NOW)
    with pytest.raises(ReviewError, match="dated in the future"):
        read_review(signed(), "local", REVIEWERS, NOW - timedelta(minutes=6))
    both = rule(alice=ALICE, mallory=MALLORY)
    # One reviewer cannot sign as another.
    forged = signed(MALLORY, rule(alice=MALLORY))
    with pytest.raises(ReviewError, match="is not signed by alice"):
        read_review(forged, "local", both, NOW)
    with pytest.raises(ReviewError, match="it is no access review"):
        read_review(b"{}", "local", REVIEWERS, NOW)


# The sheet -------------------------------------------------------------------------------------

Edit = Callable[[Workbook], None]


def sheet(edit: Edit | None = None) -> bytes:
    """The sheet as a reviewer hands it back: all kept but the formula, then edited."""
    book = load_workbook(io.BytesIO(write_sheet("local", SYSTEMS)))
    for name, rows in (("ERP", 1), ("PostgreSQL", 2)):
        for row in range(2, 2 + rows):
            book[name].cell(row, 7).value = "remove" if name == "ERP" else " Keep "
            book[name].cell(row, 8).value = "left the company" if name == "ERP" else None
            book[name].cell(row, 9).value = "alice"
    if edit:
        edit(book)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def put(name: str, cell: str, value: Any) -> Edit:
    def edit(book: Workbook) -> None:
        book[name][cell].value = value

    return edit


def test_the_same_rights_give_the_same_bytes() -> None:
    again = [System(one.subject, one.name, list(reversed(one.rights))) for one in SYSTEMS]
    assert write_sheet("local", SYSTEMS) == write_sheet("local", again)


def test_the_sheet_has_one_line_a_right_a_frozen_header_a_filter_and_a_choice() -> None:
    book = load_workbook(io.BytesIO(write_sheet("local", SYSTEMS)))
    assert book.sheetnames == ["Review 复核", "ERP", "PostgreSQL"]
    page = book["PostgreSQL"]
    assert [cell.value for cell in page[2]][1:6] == [
        "erp",
        "login",
        "database erp",
        None,
        "CONNECT, CREATE",
    ]
    assert page.max_row == 3
    assert page.freeze_panes == "A2"
    assert page.auto_filter.ref == "A1:I3"
    (choice,) = page.data_validations.dataValidation
    assert (choice.formula1, str(choice.sqref)) == ('"keep,remove"', "G2:G3")


def test_a_name_that_begins_like_a_formula_is_text() -> None:
    cell = load_workbook(io.BytesIO(write_sheet("local", SYSTEMS)))["ERP"]["B2"]
    assert (cell.data_type, cell.value) == ("s", "=HYPERLINK(1)")


def test_decisions_are_read_back_with_who_decided() -> None:
    lines = read_sheet(sheet(), "local", SYSTEMS)
    (erp,) = lines["common/erp"]
    assert (erp.right, erp.word, erp.comment, erp.reviewer) == (
        FORMULA,
        "remove",
        "left the company",
        "alice",
    )
    assert [one.word for one in lines["common/postgresql"]] == ["keep", "keep"]


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (put("PostgreSQL", "F2", "CONNECT"), "cell F2 of PostgreSQL"),
        (put("PostgreSQL", "B3", "other"), "cell B3 of PostgreSQL"),
        (put("PostgreSQL", "A2", "9"), "cell A2 of PostgreSQL"),
        (put("PostgreSQL", "B4", "eve"), "more rows or columns"),
        (put("PostgreSQL", "J2", "x"), "more rows or columns"),
        (put("PostgreSQL", "G1", "Comment"), "the header of PostgreSQL"),
        (put("Review 复核", "B4", "9 rights"), "cell B4 of Review"),
        (lambda book: book["PostgreSQL"].delete_rows(3), "cell A3 of PostgreSQL"),
        (lambda book: book.remove(book["ERP"]), "its sheets are"),
        (lambda book: book.move_sheet("PostgreSQL", -1), "its sheets are"),
    ],
)
def test_a_sheet_edited_outside_of_the_decisions_is_refused(edit: Edit, where: str) -> None:
    with pytest.raises(Refused, match="edited outside of the columns of the decision") as error:
        read_sheet(sheet(edit), "local", SYSTEMS)
    assert where in str(error.value)


def test_a_sheet_for_other_rights_or_another_environment_is_refused() -> None:
    now = [SYSTEMS[0], System("common/postgresql", "PostgreSQL", [LOGIN])]
    with pytest.raises(Refused, match="for other rights than those that local has now"):
        read_sheet(sheet(), "local", now)
    with pytest.raises(Refused, match="of environment 'local', not of 'other'"):
        read_sheet(sheet(), "other", SYSTEMS)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (put("PostgreSQL", "G2", None), "cell G2 of PostgreSQL is empty"),
        (put("PostgreSQL", "G2", "maybe"), "cell G2 of PostgreSQL says 'maybe'"),
        (put("PostgreSQL", "I3", " "), "cell I3 of PostgreSQL is empty"),
    ],
)
def test_a_sheet_that_is_not_decided_on_is_bad_input(edit: Edit, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read_sheet(sheet(edit), "local", SYSTEMS)


def test_what_is_no_sheet_is_bad_input() -> None:
    with pytest.raises(InputError, match="not an XLSX file"):
        read_sheet(b"PK\x03\x04", "local", SYSTEMS)
    buffer = io.BytesIO()
    Workbook().save(buffer)
    with pytest.raises(InputError, match="no sheet of an access review"):
        read_sheet(buffer.getvalue(), "local", SYSTEMS)


# Policies of the secret manager ----------------------------------------------------------------


def test_paths_and_capabilities_of_a_policy_are_read() -> None:
    text = """
    # path "commented/*" { capabilities = ["sudo"] }
    path "kv/data/a" { capabilities = ["read"] }
    path "kv/data/b/{{identity.entity.id}}" {
      capabilities = ["create", "update"] // both
      allowed_parameters = { "x" = ["}"] }
    }
    path "sys/*" { capabilities = ["deny"] }
    """
    assert policy_rules(text) == [
        ("kv/data/a", ["read"]),
        ("kv/data/b/{{identity.entity.id}}", ["create", "update"]),
        ("sys/*", ["deny"]),
    ]
    assert policy_rules('{"path": {"a": {"capabilities": ["read"]}}}') == [("a", ["read"])]
    assert policy_rules("") == []


@pytest.mark.parametrize(
    "text",
    [
        'path "a" { policy = "write" }',
        'path "a" { capabilities = ["read"]',
        'path "a" { capabilities = ["read"] } path b { capabilities = ["sudo"] }',
        '{"path": ["a"]}',
    ],
)
def test_a_policy_that_cannot_be_read_whole_is_an_error(text: str) -> None:
    with pytest.raises(InfrastructureError, match="cannot be read"):
        policy_rules(text)


# In the log ------------------------------------------------------------------------------------


def test_a_review_is_logged_before_it_counts_and_stays_when_its_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = LocalSigner(Ed25519PrivateKey.generate())
    monkeypatch.setattr(signing, "signing_store", lambda _: EvidenceStore(tmp_path, key))
    pem = ALICE._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "alice.key").write_bytes(pem)
    (tmp_path / "alice.key").chmod(0o600)
    root = tmp_path / "env" / "local"
    environment: Any = SimpleNamespace(name="local", root=root, approvals=REVIEWERS)
    decisions = {"common/postgresql": [Decision(LOGIN, KEEP)]}
    access._sign(environment, decisions, tmp_path / "alice.key", "baseline", as_json=False)
    (entry,) = log_of(tmp_path, "local").entries()
    assert (entry.kind, entry.run_id) == ("review", "review-local")
    shutil.rmtree(root)
    kept = tmp_path / "evidence/statements" / f"{entry.statement}.dsse.json"
    review = read_review(kept.read_bytes(), "local", REVIEWERS, datetime.now(UTC))
    assert review.reviewer == "alice"
    assert audit(tmp_path, "local", [key.public_key]).status == "VALID"
    kept.unlink()
    (problem,) = audit(tmp_path, "local", [key.public_key]).problems
    assert problem.code == "bad-statement"


def test_a_review_that_cannot_be_logged_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(LocalSigner):
        def public_key_pem(self) -> str:
            raise InfrastructureError("the secret manager is sealed", "unseal it")

    down = EvidenceStore(tmp_path, Down(Ed25519PrivateKey.generate()))
    monkeypatch.setattr(signing, "signing_store", lambda _: down)
    with pytest.raises(InfrastructureError, match="was not kept"):
        access._log("local", signed())
    assert not list(tmp_path.rglob("*.dsse.json"))
