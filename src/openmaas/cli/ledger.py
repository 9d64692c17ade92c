"""``openmaas topup``, ``usage`` and ``ledger``: money in, money used, and the proof that the books agree."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
import sqlalchemy as sa

from openmaas.cli.rooms import one_organisation, opened
from openmaas.cli.say import AS_JSON, DATA, plainly, show, table
from openmaas.control.show import show as shown
from openmaas.control.usage import GROUPS
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.clock import Clock
from openmaas.core.money import parse_amount, show_amount
from openmaas.house.layout import Layout
from openmaas.house.poster import build, engine_counts
from openmaas.house.settings import read
from openmaas.ledger import book
from openmaas.ledger.audit import audit as run_audit
from openmaas.ledger.book import list_accounts, list_transfers, top_up, wallet_id
from openmaas.ledger.receipts import list_usage, request_ids


@click.command()
@DATA
@click.argument("amount")
@click.option("--organisation", help="Its name or id; not needed when there is one.")
@click.option("--currency", help="Three letters; the setting `currency` when not given.")
@click.option("--request-key", help="Your id of the payment: the same one twice is booked once.")
@click.option("--memo", default="", help="A note for the statement.")
@AS_JSON
@plainly
def topup(
    data: str,
    amount: str,
    organisation: str | None,
    currency: str | None,
    request_key: str | None,
    memo: str,
    as_json: bool,
) -> None:
    """Add AMOUNT to the wallet of an organisation."""
    clock = Clock()
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation)
        unit = currency or read({"data": data}).settings.currency
        made = database.call(
            top_up,
            clock,
            owner,
            currency=unit,
            amount_nanos=parse_amount(amount),
            request_key=request_key or clock.new_id("pay"),
            memo=memo,
        )
        account = database.look(book.find_account, wallet_id(owner, unit))
    balance = show_amount(account.posted_nanos, unit)
    show({**shown(made), "balance": balance}, as_json=as_json, text=f"added {amount}, the balance is {balance}")


@click.command()
@DATA
@click.option("--by", default="day,model", show_default=True, help=f"Among {', '.join(GROUPS)}, comma-separated.")
@click.option("--organisation", help="Only its usage.")
@click.option("--since", default="0001-01-01", help="First day (UTC).")
@click.option("--until", default="9999-12-31", help="Last day (UTC).")
@click.option("--after", default=0, help="Skip so many rows.")
@click.option("--limit", default=PAGE_SIZE, show_default=True, help="Rows of one page.")
@AS_JSON
@plainly
def usage(
    data: str, by: str, organisation: str | None, since: str, until: str, after: int, limit: int, as_json: bool
) -> None:
    """Tokens and money used, grouped."""
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        names = [GROUPS[name.strip()] for name in by.split(",") if name.strip() in GROUPS]
        rows = database.look(
            list_usage, by=names, organisation_id=owner, since_day=since, until_day=until, offset=after, limit=limit
        )
    found = [shown(row) for row in rows]
    columns = (*names, "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "amount", "currency")
    show(found, as_json=as_json, text=table(found, columns))


@click.group()
def ledger() -> None:
    """Audit the books and print statements."""


@ledger.command()
@DATA
@AS_JSON
@plainly
def audit(data: str, as_json: bool) -> None:
    """Prove that engines, journals, receipts and accounts say the same. Exit code 0 when they do."""
    with opened(data) as (database, layout):
        counts = engine_counts(layout, database.look(request_ids))
        report = database.look(run_audit, layout.journals, counts)
    if as_json:
        show(msgspec.structs.asdict(report), as_json=True)
    elif not report.disagreements:
        charged = ", ".join(f"{amount} {unit}" for unit, amount in report.charged.items()) or "nothing"
        click.echo(
            f"all agree: {report.receipts} receipts, {report.transfers} transfers, {report.accounts} accounts, "
            f"{report.engine_counts} engine counts, {report.journaled} waiting to be posted, {charged} charged"
        )
    for sentence in report.disagreements if not as_json else []:
        click.echo(sentence, err=True)
    sys.exit(bool(report.disagreements))


@ledger.command()
@DATA
@click.option("--organisation", help="Its name or id; not needed when there is one.")
@click.option("--after", default="", help="Go on after this transfer.")
@click.option("--limit", default=PAGE_SIZE, show_default=True, help="Rows of one page.")
@AS_JSON
@plainly
def statement(data: str, organisation: str | None, after: str, limit: int, as_json: bool) -> None:
    """Every movement on an organisation's wallets, with the balances now."""

    def read_all(tx: sa.Connection) -> list[dict[str, Any]]:
        owner = one_organisation(tx, organisation)
        return [
            {
                "account": account.id,
                "balance": show_amount(account.posted_nanos, account.currency),
                "free": show_amount(account.free_nanos, account.currency),
                "transfers": [
                    {**shown(row), "change": ("-" if row.debit == account.id else "+") + show_amount(row.amount_nanos)}
                    for row in list_transfers(tx, account_id=account.id, after=after, limit=limit)
                ],
            }
            for account in list_accounts(tx, owner=owner)
        ]

    with opened(data) as (database, _):
        found = database.look(read_all)
    text = "\n\n".join(
        f"{a['account']}: balance {a['balance']}, free {a['free']}\n"
        + table(a["transfers"], ("at", "kind", "state", "change", "memo", "id"))
        for a in found
    )
    show(found, as_json=as_json, text=text)


@ledger.command()
@DATA
@AS_JSON
@plainly
def replay(data: str, as_json: bool) -> None:
    """Post what relays have journaled, when no house runs that would."""
    with opened(data) as (database, layout):
        posted = build(Layout(layout.data), database, Clock()).step()
    show({"posted": posted}, as_json=as_json, text=f"{posted} requests posted")
