"""What the books say, in a few numbers that no upgrade may change.

Each is asked of the ERP's own tables (Tryton 8.2): counts of business records, sums by state.
"""

from __future__ import annotations

import psycopg

from orchestrator.drivers.postgresql_connection import Connection
from orchestrator.model.errors import InfrastructureError

# What the seed and the drills' clients do not touch is counted too: none of it may move.
_TOTALS = {
    "posted_debit": "SELECT coalesce(sum(l.debit), 0) FROM account_move_line l"
    " JOIN account_move m ON m.id = l.move WHERE m.state = 'posted'",
    "posted_credit": "SELECT coalesce(sum(l.credit), 0) FROM account_move_line l"
    " JOIN account_move m ON m.id = l.move WHERE m.state = 'posted'",
    "posted_moves": "SELECT count(*) FROM account_move WHERE state = 'posted'",
    "open_receivables": "SELECT coalesce(sum(l.debit - l.credit), 0) FROM account_move_line l"
    " JOIN account_account a ON a.id = l.account JOIN account_account_type t ON t.id = a.type"
    " WHERE t.receivable AND l.reconciliation IS NULL",
    "invoiced": "SELECT coalesce(sum(total_amount_cache), 0) FROM account_invoice"
    " WHERE state IN ('posted', 'paid')",
    "invoices": "SELECT count(*) FROM account_invoice",
    "parties": "SELECT count(*) FROM party_party",
    "products": "SELECT count(*) FROM product_product",
    "sales": "SELECT count(*) FROM sale_sale",
    "purchases": "SELECT count(*) FROM purchase_purchase",
    "projects": "SELECT count(*) FROM project_work",
    "timesheet_seconds": "SELECT coalesce(sum(extract(epoch FROM duration)), 0)::bigint"
    " FROM timesheet_line",
}


def business_totals(connection: Connection) -> dict[str, str]:
    """The totals by name, as PostgreSQL writes them. Raises InfrastructureError."""
    found = {}
    for name, query in _TOTALS.items():
        try:
            row = connection.execute(query.encode()).fetchone()
        except psycopg.Error as error:
            raise InfrastructureError(
                f"the total {name} cannot be asked: {error}",
                "is this the ERP's database, with the modules of role `erp`?",
            ) from error
        found[name] = str(row[0]) if row else ""
    return found
