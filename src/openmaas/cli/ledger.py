"""``openmaas topup``, ``usage`` and ``ledger``: money in, money used, and the proof that the books agree."""

from __future__ import annotations

import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
import msgspec
import sqlalchemy as sa

from openmaas.cli.exports import FORM, deliver, export, period
from openmaas.cli.rooms import OPERATOR, one_organisation, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, plainly, show, table
from openmaas.control.exports import Export
from openmaas.control.show import parse_time
from openmaas.control.show import show as shown
from openmaas.control.usage import GROUPS, group_by, parse_day
from openmaas.core.clock import Clock, iso_utc
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import parse_amount, show_amount
from openmaas.house.layout import Layout
from openmaas.house.poster import build, engine_counts
from openmaas.house.settings import read
from openmaas.ledger import book
from openmaas.ledger.audit import audit as run_audit
from openmaas.ledger.book import list_accounts, list_transfers, top_up, wallet_id
from openmaas.ledger.papers.reconciling import Difference, reconcile
from openmaas.ledger.papers.rerating import Period
from openmaas.ledger.papers.rerating import rerate as run_rerate
from openmaas.ledger.posting import writing_off
from openmaas.ledger.posting.receipts import list_usage
from openmaas.store.audit_log import audited
from openmaas.store.database import Database


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
        told = {"organisation_id": owner, "amount": amount, "currency": unit, "memo": memo}
        made = database.call(
            audited(OPERATOR, "topup.create", attrgetter("id"), top_up, told),
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


@click.group(invoke_without_command=True)
@click.pass_context
@DATA
@click.option("--by", default="day,model", show_default=True, help=f"Among {', '.join(GROUPS)}, comma-separated.")
@click.option("--organisation", help="Only its usage.")
@click.option("--since", default="0001-01-01", help="First day (UTC).")
@click.option("--until", default="9999-12-31", help="Last day (UTC).")
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Skip so many rows.")
@LIMIT
@AS_JSON
@plainly
def usage(
    ctx: click.Context,
    data: str,
    by: str,
    organisation: str | None,
    since: str,
    until: str,
    after: int,
    limit: int,
    as_json: bool,
) -> None:
    """Tokens, units and money used, grouped; `export` writes every request."""
    if ctx.invoked_subcommand is not None:
        return
    names = group_by(by)
    first, last = parse_day(since, "since"), parse_day(until, "until")
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        rows = database.look(
            list_usage, by=names, organisation_id=owner, since_day=first, until_day=last, offset=after, limit=limit
        )
    found = [shown(row) for row in rows]
    columns = (*names, "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "units", "amount", "currency")
    told = [row | {"units": ", ".join(f"{count} {unit}" for unit, count in row["units"].items())} for row in found]
    show(found, as_json=as_json, text=table(told, columns))


usage.add_command(export)


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
        report = database.look(run_audit, layout.journals, engine_counts(layout))
    if as_json:
        show(msgspec.structs.asdict(report), as_json=True)
    elif not report.disagreements:
        charged = ", ".join(f"{amount} {unit}" for unit, amount in report.charged.items()) or "nothing"
        click.echo(
            f"all agree: {report.receipts} receipts, {report.transfers} transfers, {report.accounts} accounts, "
            f"{report.engine_counts} engine counts, {report.journaled} waiting to be posted, {charged} charged"
        )
    for sentence in report.lost if not as_json else []:
        click.echo(sentence)
    for sentence in report.disagreements if not as_json else []:
        click.echo(sentence, err=True)
    sys.exit(bool(report.disagreements))


@ledger.command()
@DATA
@click.option("--organisation", help="Its name or id; not needed when there is one.")
@click.option("--after", default="", help="Go on after this transfer.")
@LIMIT
@AS_JSON
@click.option("--form", type=FORM, help="Write a file instead: one account in a period, with the balance after each.")
@click.option("--account", help="The account of the file; the wallet in the setting `currency` when not given.")
@period
@plainly
def statement(
    data: str,
    organisation: str | None,
    after: str,
    limit: int,
    as_json: bool,
    form: str | None,
    account: str | None,
    to: Path | None,
    **options: Any,
) -> None:
    """Every movement on an organisation's wallets, with the balances now; or a file of one account (--form)."""
    if form is not None:
        currency = read({"data": data}).settings.currency
        with opened(data) as (database, _):
            named = account or wallet_id(database.look(one_organisation, organisation), currency)
            deliver(Export(form=form, **options).statement(database, named), to)
        return

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


@ledger.command("reconcile")
@DATA
@click.option("--day", help="A day such as 2026-11-26 (UTC); today when not given.")
@AS_JSON
@plainly
def reconcile_(data: str, day: str | None, as_json: bool) -> None:
    """Compare what clients were sent, what was billed and what engines counted on one day, by organisation."""
    asked = parse_day(day or iso_utc(Clock().wall_ms())[:10], "day", ends=True)
    with opened(data) as (database, layout):
        rows = reconcile(database, asked, lambda request_ids: engine_counts(layout, request_ids))
    found = [{"id": row.id, **shown(row)} for row in rows]
    columns = [*Difference.__struct_fields__[:-3], "amount", "excess", "unbilled"]
    show({"day": asked, "data": found}, as_json=as_json, text=table(found, columns))


@ledger.command()
@DATA
@AS_JSON
@plainly
def replay(data: str, as_json: bool) -> None:
    """Post what relays have journaled and settle what they left open, when no house runs that would."""
    with opened(data) as (database, layout):
        # Many transactions, of which each stays: so one entry says who began, and another one how far it came.
        _note_replay(database, layout, "begin", {})
        told: dict[str, Any] = {"outcome": "failed"}
        try:
            poster = build(layout, database, Clock())
            posted = poster.finish()
            broken = poster.broken()
            told = {"outcome": "broken" if broken else "done", "posted": posted, "broken": broken}
        finally:
            _note_replay(database, layout, "end", told)
    show({"posted": posted, "broken": broken}, as_json=as_json, text=f"{posted} requests posted")
    for said in broken:
        click.echo(said, err=True)
    if broken:
        sys.exit(1)


def _note_replay(database: Database, layout: Layout, what: str, told: dict[str, Any]) -> None:
    database.call(audited(OPERATOR, f"ledger.replay.{what}", layout.home, lambda _tx: None, told))


@ledger.command("write-off")
@DATA
@click.argument("journal")
@click.option("--reason", required=True, help="Why nobody will ever post it; stays on record.")
@AS_JSON
@plainly
def write_off(data: str, journal: str, reason: str, as_json: bool) -> None:
    """Give up JOURNAL, whose machine and disk are gone for good: its leases come back, what was not posted is lost."""
    with opened(data) as (database, layout):
        giving_up = audited(OPERATOR, "journal.write_off", journal, writing_off.write_off, {"reason": reason})
        made = database.call(giving_up, Clock(), layout.journals, journal, reason)
    freed = [f"{show_amount(nanos)} of {account_id}" for account_id, nanos in sorted(made.freed.items())]
    text = f"written off; free again: {', '.join(freed) or 'nothing'}"
    show({**msgspec.structs.asdict(made), "freed": freed}, as_json=as_json, text=text)


@ledger.command()
@DATA
@click.option("--model", required=True, help="Whose receipts are priced again.")
@click.option("--since", required=True, help="Opened from this time on (RFC 3339).")
@click.option("--until", required=True, help="Opened before this time (RFC 3339).")
@click.option("--organisation", help="Only its receipts.")
@click.option("--surcharge", is_flag=True, help="Take what is dearer too, as far as funds are free.")
@click.option("--dry-run", is_flag=True, help="Say what would be booked, and book nothing.")
@AS_JSON
@plainly
def rerate(
    data: str,
    model: str,
    since: str,
    until: str,
    organisation: str | None,
    surcharge: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Price a period again with what counts for it now, and give back the difference. Twice is once."""
    since_ms, until_ms = parse_time(since, "since"), parse_time(until, "until")
    if until_ms <= since_ms:
        raise FieldInvalid("until must be after since", field="until")
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        asked = Period(model, since_ms, until_ms, owner)
        found = run_rerate(database, Clock(), asked, surcharge=surcharge, dry_run=dry_run, who=OPERATOR)
    parts = {"given": found.given_nanos, "taken": found.taken_nanos, "owed": found.owed_nanos}
    rows = [
        {"account": account_id, **{name: show_amount(part.get(account_id, 0)) for name, part in parts.items()}}
        for account_id in sorted(set().union(*parts.values()))
    ]
    said = f"{found.receipts} receipts priced again{', nothing booked' if dry_run else ''}"
    text = f"{table(rows, ('account', *parts))}\n{said}" if rows else f"{said}, nothing differs"
    show({"receipts": found.receipts, "dry_run": dry_run, "accounts": rows}, as_json=as_json, text=text)
