"""What must be true of the ERP's data whatever happened: business invariants in SQL.

Each query returns the records that break its rule, so no row is the good answer. A rule whose
table is empty holds trivially: `population` says how many records it was about.
Tryton 8.2's tables; the rules ran clean on a seeded database.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.drivers.postgresql_connection import Connection
from orchestrator.model.errors import InfrastructureError

_SHOWN_ROWS = 20
_RECORDS = (
    "party_party",
    "product_product",
    "sale_sale",
    "purchase_purchase",
    "account_move",
    "account_invoice",
    "project_work",
    "timesheet_line",
)


@dataclass(frozen=True)
class Invariant:
    """A rule: its name, what it says, the table it is about, and the query for violations."""

    name: str
    says: str
    table: str
    query: str


@dataclass(frozen=True)
class InvariantResult:
    """How many records break a rule, the first of them, and how many it was about."""

    name: str
    says: str
    violations: int
    rows: tuple[tuple[str, ...], ...]
    population: int


@dataclass(frozen=True)
class RowCounts:
    """The number of rows of every table of the schema `public`, and the sha256 of that list."""

    counts: dict[str, int]
    digest: str


INVARIANTS = (
    Invariant(
        "posted_moves_balance",
        "the lines of a posted account move sum to zero",
        "account_move",
        "SELECT m.id FROM account_move m JOIN account_move_line l ON l.move = m.id"
        " WHERE m.state = 'posted' GROUP BY m.id HAVING sum(l.debit) <> sum(l.credit)",
    ),
    Invariant(
        "posted_moves_are_complete",
        "a posted account move has a number, a date and lines",
        "account_move",
        "SELECT m.id FROM account_move m WHERE m.state = 'posted' AND (m.number IS NULL"
        " OR m.post_date IS NULL"
        " OR NOT EXISTS (SELECT 1 FROM account_move_line l WHERE l.move = m.id))",
    ),
    Invariant(
        "invoice_numbers_are_gapless",
        "the invoice numbers of a sequence have no gap and no duplicate",
        "account_invoice",
        # A number is a prefix (often with the year) and digits that count within it.
        "SELECT sequence, prefix, count(*), min(digits), max(digits) FROM (SELECT sequence,"
        " regexp_replace(number, '[0-9]+$', '') AS prefix,"
        " substring(number FROM '[0-9]+$')::bigint AS digits"
        " FROM account_invoice WHERE number IS NOT NULL) AS numbers GROUP BY sequence, prefix"
        " HAVING count(*) <> count(DISTINCT digits)"
        " OR count(*) <> max(digits) - min(digits) + 1",
    ),
    Invariant(
        "posted_invoices_have_posted_moves",
        "a posted or paid invoice has a number and a posted move",
        "account_invoice",
        "SELECT i.id FROM account_invoice i LEFT JOIN account_move m ON m.id = i.move"
        " WHERE i.state IN ('posted', 'paid')"
        " AND (i.number IS NULL OR m.id IS NULL OR m.state <> 'posted')",
    ),
    Invariant(
        "receivables_equal_invoices",
        "the receivable of a customer invoice equals its total",
        "account_invoice",
        "SELECT i.id FROM account_invoice i"
        " JOIN account_move_line l ON l.move = i.move AND l.account = i.account"
        " WHERE i.type = 'out' AND i.state IN ('posted', 'paid')"
        " GROUP BY i.id HAVING sum(l.debit - l.credit) <> i.total_amount_cache",
    ),
    Invariant(
        "invoice_lines_sum_to_totals",
        "the lines of a posted or paid invoice sum to its untaxed total",
        "account_invoice",
        "SELECT i.id FROM account_invoice i JOIN currency_currency c ON c.id = i.currency"
        " LEFT JOIN account_invoice_line l ON l.invoice = i.id AND l.type = 'line'"
        " WHERE i.state IN ('posted', 'paid') GROUP BY i.id, i.untaxed_amount_cache"
        " HAVING coalesce(sum(round(l.quantity::numeric * l.unit_price, c.digits)), 0)"
        " IS DISTINCT FROM i.untaxed_amount_cache",
    ),
    Invariant(
        "reconciliations_balance",
        "the lines of a reconciliation sum to zero",
        "account_move_reconciliation",
        "SELECT r.id FROM account_move_reconciliation r"
        " JOIN account_move_line l ON l.reconciliation = r.id"
        " GROUP BY r.id HAVING sum(l.debit - l.credit) <> 0",
    ),
    Invariant(
        "projects_form_a_tree",
        "a project's path begins with its parent's path",
        "project_work",
        "SELECT w.id FROM project_work w JOIN project_work p ON p.id = w.parent"
        " WHERE w.path NOT LIKE p.path || '%'",
    ),
    Invariant(
        "origins_exist",
        "the invoice that an account move names as its origin exists",
        "account_move",
        "SELECT m.id FROM account_move m"
        " LEFT JOIN account_invoice i ON m.origin = 'account.invoice,' || i.id"
        " WHERE m.origin LIKE 'account.invoice,%' AND i.id IS NULL",
    ),
    Invariant(
        "party_codes_agree",
        "a party's code and the forms of it that are searched agree",
        "party_party",
        # Tryton derives both from the code whenever it writes one (module party, compute_fields).
        # A drill may damage its own marker: that is no finding of another run's.
        r"SELECT id FROM party_party WHERE (name NOT LIKE 'anlan-%-marker'"
        r" OR name = 'anlan-' || current_setting('anlan.run', true) || '-marker')"
        r" AND (code_alnum IS DISTINCT FROM regexp_replace(code, '[\W_]', '', 'g')"
        r" OR code_digit IS DISTINCT FROM"
        r" nullif(right(regexp_replace(code, '\D', '', 'g'), 18), '')::bigint)",
    ),
)


def check_invariants(connection: Connection, run_id: str = "") -> tuple[InvariantResult, ...]:
    """Run every rule on the ERP's database. Raises InfrastructureError when one cannot run.

    `run_id` is the run that asks: what drills damaged on purpose counts in their own run alone.
    """
    _ask_as(connection, run_id)
    return tuple(_check(connection, invariant) for invariant in INVARIANTS)


def violations(connection: Connection, run_id: str) -> dict[str, list[str]]:
    """The records that break each rule that is broken, by the first column of its query.

    `run_id` as in `check_invariants`. Raises InfrastructureError when a rule cannot be asked.
    """
    _ask_as(connection, run_id)
    found = {
        one.name: sorted({str(row[0]) for row in _rows(connection, one)}) for one in INVARIANTS
    }
    return {name: records for name, records in found.items() if records}


def row_counts(connection: Connection) -> RowCounts:
    """Count the rows of every table. Raises InfrastructureError."""
    try:
        tables = connection.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
        counts = {str(table): _count(connection, str(table)) for (table,) in tables}
    except psycopg.Error as error:
        raise InfrastructureError(
            f"cannot count the rows of the ERP's tables: {error}", "is this the ERP's database?"
        ) from error
    text = json.dumps(counts, sort_keys=True, separators=(",", ":"))
    return RowCounts(counts, hashlib.sha256(text.encode()).hexdigest())


def compare_rows(production: Connection, twin: Connection, until: str) -> dict[str, Any]:
    """Compare the business records of production with those of a twin recovered up to `until`.

    A record that production has since before `until` (ISO 8601) must be in the twin; the twin may
    hold none that was made after it. Tryton stamps a record when its transaction begins, so the
    last seconds before `until` are left out. A record that production deleted meanwhile is not
    looked for. Returns {until, expected, missing: ["table,id"], later: ["table,id"]}.
    Raises InfrastructureError.
    """
    expected, missing, later = 0, [], []
    try:
        for table in _RECORDS:
            name = sql.Identifier(table)
            before = sql.SQL(
                "SELECT id FROM {} WHERE create_date <"
                " %s::timestamptz AT TIME ZONE 'UTC' - interval '30 s'"
            ).format(name)
            after = sql.SQL(
                "SELECT id FROM {} WHERE create_date > %s::timestamptz AT TIME ZONE 'UTC'"
            ).format(name)
            known = {row[0] for row in production.execute(before, (until,))}
            there = {row[0] for row in twin.execute(sql.SQL("SELECT id FROM {}").format(name))}
            expected += len(known)
            missing += [f"{table},{id_}" for id_ in sorted(known - there)]
            later += [f"{table},{row[0]}" for row in twin.execute(after, (until,))]
    except psycopg.Error as error:
        raise InfrastructureError(
            f"the records cannot be compared: {error}", "are both the ERP's databases?"
        ) from error
    return {"until": until, "expected": expected, "missing": missing, "later": later}


def _ask_as(connection: Connection, run_id: str) -> None:
    try:
        connection.execute("SELECT set_config('anlan.run', %s, false)", (run_id,))
    except psycopg.Error as error:
        raise InfrastructureError(
            f"the invariants cannot be checked: {error}", "is the database up?"
        ) from error


def _check(connection: Connection, invariant: Invariant) -> InvariantResult:
    rows = _rows(connection, invariant)
    return InvariantResult(
        name=invariant.name,
        says=invariant.says,
        violations=len(rows),
        rows=tuple(tuple(map(str, row)) for row in rows[:_SHOWN_ROWS]),
        population=_count(connection, invariant.table),
    )


def _rows(connection: Connection, invariant: Invariant) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(invariant.query.encode()).fetchall()
    except psycopg.Error as error:
        raise InfrastructureError(
            f"the invariant {invariant.name} cannot be checked: {error}",
            "is this the ERP's database, with the modules of role `erp`?",
        ) from error


def _count(connection: Connection, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
