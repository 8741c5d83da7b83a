"""The ERP's driver against a real Tryton, and the invariants of its data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp, ErpError, ErpSessionExpired
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.invariants import INVARIANTS, check_invariants, row_counts

# For each invariant, a change that breaks it.
BREAK = {
    "posted_moves_balance": "UPDATE account_move_line SET debit = debit + 1 WHERE id ="
    " (SELECT min(l.id) FROM account_move_line l JOIN account_move m ON m.id = l.move"
    " WHERE m.state = 'posted' AND l.debit > 0)",
    "posted_moves_are_complete": "UPDATE account_move SET number = NULL WHERE id ="
    " (SELECT min(id) FROM account_move WHERE state = 'posted')",
    "invoice_numbers_are_gapless": "DELETE FROM account_invoice WHERE id ="
    " (SELECT id FROM account_invoice WHERE number IS NOT NULL ORDER BY id OFFSET 3 LIMIT 1)",
    "posted_invoices_have_posted_moves": "UPDATE account_invoice SET move = NULL WHERE id ="
    " (SELECT min(id) FROM account_invoice WHERE state = 'posted')",
    "receivables_equal_invoices": "UPDATE account_invoice SET total_amount_cache ="
    " total_amount_cache + 1 WHERE id = (SELECT min(id) FROM account_invoice"
    " WHERE state = 'posted')",
    "invoice_lines_sum_to_totals": "UPDATE account_invoice_line SET quantity = quantity + 1"
    " WHERE id = (SELECT min(l.id) FROM account_invoice_line l JOIN account_invoice i"
    " ON i.id = l.invoice WHERE i.state = 'posted' AND l.type = 'line')",
    "reconciliations_balance": "WITH made AS (INSERT INTO account_move_reconciliation"
    " (id, company, date, number) SELECT 1000000, min(id), current_date, 'x' FROM company_company"
    " RETURNING id) UPDATE account_move_line SET reconciliation = 1000000 WHERE id ="
    " (SELECT min(id) FROM account_move_line WHERE debit <> 0 AND reconciliation IS NULL)",
    "projects_form_a_tree": "UPDATE project_work SET path = 'x' WHERE id ="
    " (SELECT min(id) FROM project_work WHERE parent IS NOT NULL)",
    "party_codes_agree": "UPDATE party_party SET code = code || '-x' WHERE id ="
    " (SELECT min(id) FROM party_party WHERE code IS NOT NULL)",
    "origins_exist": "UPDATE account_move SET origin = 'account.invoice,999999' WHERE id ="
    " (SELECT min(id) FROM account_move)",
}


@pytest.fixture(params=["a", "b", "front door"])
def erp(environment: Environment, request: pytest.FixtureRequest) -> Iterator[Erp]:
    url = environment.front_door.url
    if request.param in environment.sites:
        url = environment.sites[request.param].erp.url
    client = Erp(url, environment.sites["a"].erp.database, environment.tls.ca_file)
    yield client
    client.close()


@pytest.fixture
def database(servers: dict[str, PostgreSQL]) -> Iterator[Connection]:
    with servers["a"].connect_local("erp") as connection:
        # Triggers that guard foreign keys are what a restore by files does not run either.
        connection.execute("SET session_replication_role = replica")
        yield connection


def test_a_record_is_created_read_and_deleted(erp: Erp, secrets: Secrets) -> None:
    assert erp.version().startswith("8.")
    erp.login(secrets.login_of("erp-probe"))
    ids = erp.create("party.party", [{"name": "test-a-record"}])
    assert erp.read("party.party", ids, ["name"])[0]["name"] == "test-a-record"
    erp.delete("party.party", ids)
    assert erp.search("party.party", [["id", "in", ids]]) == []
    erp.logout()


def test_a_wrong_password_is_an_error_although_http_says_200(
    environment: Environment, secrets: Secrets
) -> None:
    erp = Erp(environment.sites["a"].erp.url, "erp", environment.tls.ca_file)
    with pytest.raises(ErpError):
        erp.login(Credentials(secrets.login_of("erp-probe").username, "wrong"))


def test_without_a_session_the_error_says_so(environment: Environment) -> None:
    erp = Erp(environment.sites["a"].erp.url, "erp", environment.tls.ca_file)
    with pytest.raises(ErpSessionExpired):
        erp.create("party.party", [{"name": "nobody"}])


def test_a_server_with_another_ca_is_not_spoken_to(environment: Environment) -> None:
    from pathlib import Path

    import certifi

    erp = Erp(environment.front_door.url, "erp", Path(certifi.where()))
    with pytest.raises(InfrastructureError, match="certificate verify failed"):
        erp.version()


def test_the_seeded_data_break_no_invariant(database: Connection) -> None:
    results = check_invariants(database)
    assert [result.name for result in results if result.violations] == []
    assert [result.name for result in results if not result.population] == []


@pytest.mark.parametrize("name", [invariant.name for invariant in INVARIANTS])
def test_each_invariant_notices_its_violation(database: Connection, name: str) -> None:
    with database.transaction(force_rollback=True):
        database.execute(BREAK[name].encode())
        broken = {result.name: result for result in check_invariants(database)}
        assert broken[name].violations == 1
        assert broken[name].rows
    assert not any(result.violations for result in check_invariants(database))


def test_a_lost_row_changes_the_digest_of_the_counts(database: Connection) -> None:
    before = row_counts(database)
    with database.transaction(force_rollback=True):
        database.execute("DELETE FROM project_work WHERE id = (SELECT max(id) FROM project_work)")
        after = row_counts(database)
    assert after.digest != before.digest
    assert after.counts["project_work"] == before.counts["project_work"] - 1
    assert row_counts(database) == before


def test_another_database_is_an_error_and_no_clean_result(servers: dict[str, PostgreSQL]) -> None:
    with (
        servers["a"].connect_local("postgres") as connection,
        pytest.raises(InfrastructureError, match="posted_moves_balance"),
    ):
        check_invariants(connection)
