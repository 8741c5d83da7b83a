"""Initialise an ERP database and fill it with the example company, through the ERP's own API.

Run by the role erp_database in the ERP's virtual environment:

    seed.py --config trytond.conf --database NAME

Two parts, both of them programs of the ERP: `trytond-admin` makes the tables, then a temporary
`trytond` on a free loopback port takes JSON-RPC calls. The content is the same every time: dates,
names and amounts are computed, never drawn. The passwords are drawn and forgotten: the role sets
the real ones afterwards.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import secrets
from decimal import Decimal
from typing import Any

from erp_api import Erp, initialise, server

YEARS = range(2025, 2036)
SEED_YEAR = 2025
INVOICES = 100
PAID = 10


def day(index: int) -> datetime.date:
    """A date of the seeded year, ascending with the index (0 to 99)."""
    return datetime.date(SEED_YEAR, 1, 6) + datetime.timedelta(days=index)


def company(erp: Erp) -> dict[str, int]:
    """Company, chart of accounts, fiscal years, payment term and the ERP user `drill`."""
    ids: dict[str, int] = {}
    ids["currency"] = erp.new(
        "currency.currency", name="Renminbi", symbol="¥", code="CNY", numeric_code="156"
    )
    party = erp.new("party.party", name="Anlan Precision Works")
    ids["company"] = erp.new("company.company", party=party, currency=ids["currency"])
    employee = erp.new("party.party", name="Employee Zero")
    erp.context = {"company": ids["company"], "companies": [ids["company"]]}
    ids["employee"] = erp.new("company.employee", party=employee, company=ids["company"])
    membership = {
        "companies": [["add", [ids["company"]]]],
        "company": ids["company"],
    }
    erp(
        "res.user.write",
        [erp.user],
        {**membership, "employees": [["add", [ids["employee"]]]], "employee": ids["employee"]},
    )
    erp.context["employee"] = ids["employee"]
    erp.new(
        "res.user",
        name="Drill probe",
        login="drill",
        password=secrets.token_urlsafe(32),
        groups=[["add", [erp.find("res.group", ["name", "=", "Party Administration"])]]],
        **membership,
    )
    chart(erp, ids)
    for year in YEARS:
        fiscal_year(erp, ids["company"], year)
    ids["term"] = erp.new(
        "account.invoice.payment_term",
        name="Thirty days",
        lines=[["create", [{"type": "remainder", "relativedeltas": [["create", [{"days": 30}]]]}]]],
    )
    return ids


def chart(erp: Erp, ids: dict[str, int]) -> None:
    """Chart of accounts, value added tax of 13 %, and the accounts by kind into `ids`."""
    template = erp("ir.model.data.get_id", "account", "account_template_root_en")
    erp.wizard(
        "account.create_chart",
        ("account", {}),
        (
            "create_account",
            {"account": {"company": ids["company"], "account_template": template}},
        ),
    )
    for kind in ("receivable", "payable", "revenue", "expense"):
        ids[kind] = erp.find(
            "account.account",
            [f"type.{kind}", "=", True],
            ["company", "=", ids["company"]],
            ["closed", "!=", True],
        )
    erp.wizard(
        "account.create_chart",
        (
            "create_properties",
            {
                "properties": {
                    "company": ids["company"],
                    "account_receivable": ids["receivable"],
                    "account_payable": ids["payable"],
                    "category_account_expense": ids["expense"],
                    "category_account_revenue": ids["revenue"],
                }
            },
        ),
    )
    tax_account = erp.find(
        "account.account", ["company", "=", ids["company"]], ["code", "=", "6.3.6"]
    )
    ids["tax"] = erp.new(
        "account.tax",
        name="VAT 13 %",
        description="VAT 13 %",
        type="percentage",
        rate=Decimal("0.13"),
        company=ids["company"],
        invoice_account=tax_account,
        credit_note_account=tax_account,
    )


def fiscal_year(erp: Erp, owner: int, year: int) -> None:
    """One fiscal year with monthly periods and gapless sequences of its own."""

    def sequence(kind: str, prefix: str) -> int:
        kind_id = erp.find("ir.sequence.type", ["name", "=", kind])
        return erp.new(
            "ir.sequence.strict",
            name=f"{kind} {prefix}{year}",
            prefix=f"{prefix}{year}-",
            padding=6,  # so that the digits of all numbers of a sequence count up by one
            sequence_type=kind_id,
            company=owner,
        )

    outgoing, incoming = sequence("Invoice", "S"), sequence("Invoice", "P")
    created = erp.new(
        "account.fiscalyear",
        name=str(year),
        company=owner,
        start_date=datetime.date(year, 1, 1),
        end_date=datetime.date(year, 12, 31),
        move_sequence=sequence("Account Move", "M"),
        invoice_sequences=[
            [
                "create",
                [
                    {
                        "company": owner,
                        "out_invoice_sequence": outgoing,
                        "out_credit_note_sequence": outgoing,
                        "in_invoice_sequence": incoming,
                        "in_credit_note_sequence": incoming,
                    }
                ],
            ]
        ],
    )
    erp("account.fiscalyear.create_period", [created])


def parties(erp: Erp, kind: str, count: int) -> list[tuple[int, int]]:
    """Parties with one address each; returns (party, address)."""
    made = erp.many(
        "party.party",
        [
            {
                "name": f"{kind} {number:02d}",
                "addresses": [["create", [{"street": f"{number} Harbour Road", "city": "Ningbo"}]]],
            }
            for number in range(1, count + 1)
        ],
    )
    rows = erp("party.party.read", made, ["addresses"])
    return [(row["id"], row["addresses"][0]) for row in sorted(rows, key=lambda row: row["id"])]


def products(erp: Erp, ids: dict[str, int]) -> list[int]:
    """Ten goods and two services, priced by their number; the product variants' ids."""
    category = erp.new(
        "product.category",
        name="Precision parts",
        accounting=True,
        account_expense=ids["expense"],
        account_revenue=ids["revenue"],
        customer_taxes=[["add", [ids["tax"]]]],
    )
    ids["unit"] = erp.find("product.uom", ["name", "=", "Unit"])
    ids["hour"] = erp.find("product.uom", ["name", "=", "Hour"])
    templates = erp.many(
        "product.template",
        [
            {
                "name": f"Part {number:02d}" if number <= 10 else f"Service {number:02d}",
                "type": "goods" if number <= 10 else "service",
                "default_uom": ids["unit"] if number <= 10 else ids["hour"],
                "list_price": Decimal(number * 25),
                "account_category": category,
                "products": [["create", [{"suffix_code": f"P{number:03d}"}]]],
                "salable": True,
                "sale_uom": ids["unit"] if number <= 10 else ids["hour"],
                "purchasable": number <= 10,
                "purchase_uom": ids["unit"] if number <= 10 else ids["hour"],
            }
            for number in range(1, 13)
        ],
    )
    rows = erp("product.template.read", templates, ["products"])
    return [row["products"][0] for row in sorted(rows, key=lambda row: row["id"])]


def trade(
    ids: dict[str, int], kind: str, side: tuple[int, int], goods: list[int], index: int
) -> dict[str, Any]:
    """One sale or purchase with two lines of goods."""
    order: dict[str, Any] = {
        "company": ids["company"],
        "currency": ids["currency"],
        "party": side[0],
        "invoice_party": side[0],
        "invoice_address": side[1],
        "payment_term": ids["term"],
        f"{kind}_date": day(index),
        "description": f"{kind} {index:02d}",
        "lines": [
            [
                "create",
                [
                    {
                        "type": "line",
                        "product": goods[(index + step) % 10],
                        "quantity": float(step + 1),
                        "unit": ids["unit"],
                        "unit_price": Decimal(20 + index + step),
                        "taxes": [["add", [ids["tax"]]]],
                    }
                    for step in range(2)
                ],
            ]
        ],
    }
    if kind == "sale":
        order |= {"shipment_party": side[0], "shipment_address": side[1]}
    order["warehouse"] = ids["warehouse"]
    return order


def orders(
    erp: Erp,
    ids: dict[str, int],
    customers: list[tuple[int, int]],
    suppliers: list[tuple[int, int]],
    goods: list[int],
) -> None:
    """Ten sales and five purchases, quoted, confirmed and processed."""
    ids["warehouse"] = erp.find("stock.location", ["type", "=", "warehouse"])
    for kind, sides, count in (("sale", customers, 10), ("purchase", suppliers, 5)):
        model = f"{kind}.{kind}"
        made = erp.many(
            model,
            [trade(ids, kind, sides[i % len(sides)], goods, i) for i in range(count)],
        )
        for step in ("quote", "confirm", "process"):
            erp(f"{model}.{step}", made)


def invoices(
    erp: Erp, ids: dict[str, int], customers: list[tuple[int, int]], goods: list[int]
) -> None:
    """Posted customer invoices, one a day, all of them in one posting."""
    journal = erp.find("account.journal", ["type", "=", "revenue"])
    made = erp.many(
        "account.invoice",
        [
            {
                "type": "out",
                "company": ids["company"],
                "currency": ids["currency"],
                "party": customers[index % len(customers)][0],
                "invoice_address": customers[index % len(customers)][1],
                "account": ids["receivable"],
                "journal": journal,
                "payment_term": ids["term"],
                "invoice_date": day(index),
                "description": f"Delivery {index + 1:03d}",
                "lines": [
                    [
                        "create",
                        [
                            {
                                "type": "line",
                                "company": ids["company"],
                                "currency": ids["currency"],
                                "product": goods[(index + step) % 10],
                                "account": ids["revenue"],
                                "quantity": float(1 + (index + step) % 7),
                                "unit": ids["unit"],
                                "unit_price": Decimal(25 * (1 + (index + step) % 10)),
                                "taxes": [["add", [ids["tax"]]]],
                            }
                            for step in range(2)
                        ],
                    ]
                ],
            }
            for index in range(INVOICES)
        ],
    )
    acknowledge_past_payment(erp, made)
    erp("account.invoice.post", made)
    payments(erp, ids, made[:PAID])


def payments(erp: Erp, ids: dict[str, int], made: list[int]) -> None:
    """Pay invoices whole, so that the ledger holds reconciliations too."""
    cash = erp.find("account.account", ["company", "=", ids["company"]], ["code", "=", "1.1.1"])
    method = erp.new(
        "account.invoice.payment.method",
        name="Bank transfer",
        company=ids["company"],
        journal=erp.find("account.journal", ["type", "=", "cash"]),
        credit_account=cash,
        debit_account=cash,
    )
    before = dict(erp.context)
    for row in erp("account.invoice.read", made, ["amount_to_pay"]):
        choice = {
            "payee": None,
            "amount": row["amount_to_pay"],
            "currency": ids["currency"],
            "company": ids["company"],
            "invoice_account": None,
            "payment_method": method,
            "date": day(INVOICES),
        }
        invoice = row["id"]
        erp.context = {
            **before,
            "active_model": "account.invoice",
            "active_id": invoice,
            "active_ids": [invoice],
        }
        erp.wizard("account.invoice.pay", ("start", {}), ("choice", {"start": choice}))
    erp.context = before


def acknowledge_past_payment(erp: Erp, made: list[int]) -> None:
    """Answer the warning that an invoice is due in the past before it is asked, for all at once.

    The ERP names a warning by a digest of the record it concerns (res.user.warning).
    """
    digests = [
        hashlib.md5(f"account.invoice,{id_}".encode(), usedforsecurity=False).hexdigest()
        for id_ in made
    ]
    erp.many(
        "res.user.warning",
        [{"name": f"{digest}.invoice_payment_term", "user": erp.user} for digest in digests],
    )


def projects(erp: Erp, ids: dict[str, int], customers: list[tuple[int, int]]) -> None:
    """Three projects with five tasks each and two timesheet lines a task."""
    tasks: list[int] = []
    for number in range(1, 4):
        common = {"company": ids["company"], "timesheet_available": True}
        project = erp.new(
            "project.work",
            name=f"Project {number}",
            type="project",
            party=customers[number][0],
            **common,
        )
        tasks += erp.many(
            "project.work",
            [
                {
                    "name": f"Task {number}.{step}",
                    "type": "task",
                    "parent": project,
                    "effort_duration": datetime.timedelta(hours=8 * step),
                    **common,
                }
                for step in range(1, 6)
            ],
        )
    rows = erp("project.work.read", tasks, ["timesheet_works"])
    erp.many(
        "timesheet.line",
        [
            {
                "company": ids["company"],
                "employee": ids["employee"],
                "work": row["timesheet_works"][0],
                "date": day(10 * half + index),
                "duration": datetime.timedelta(hours=2 + half),
            }
            for index, row in enumerate(sorted(rows, key=lambda row: row["id"]))
            for half in range(2)
        ],
    )


def fill(erp: Erp) -> None:
    """The whole example company."""
    ids = company(erp)
    customers = parties(erp, "Customer", 20)
    suppliers = parties(erp, "Supplier", 8)
    goods = products(erp, ids)
    orders(erp, ids, customers, suppliers, goods)
    invoices(erp, ids, customers, goods)
    projects(erp, ids, customers)


def main() -> None:
    """Initialise and fill; the exit code tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--database", required=True)
    arguments = parser.parse_args()
    password = secrets.token_urlsafe(32)
    initialise(arguments.config, arguments.database, password)
    with server(arguments.config, arguments.database) as port:
        fill(Erp(port, arguments.database, password))


if __name__ == "__main__":
    main()
