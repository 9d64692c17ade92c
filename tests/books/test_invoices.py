"""Invoices: figures worked out by hand, numbers without gaps, and sums that are the ledger's over time."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import sqlalchemy as sa

from desk import WALLET
from office import ISSUER, MILLI, Office
from openmaas.core.errors import Conflict, ExtraMissing, FieldInvalid, ThingUnknown
from openmaas.core.invoice import Invoice, Issuer, Party, Tax
from openmaas.core.terms import Terms, flat
from openmaas.core.usage import UNITS, Usage
from openmaas.documents.html import render_html
from openmaas.documents.page import page_of
from openmaas.documents.pdf import render_pdf
from openmaas.documents.words import WORDS
from openmaas.house.invoicing import issue_due
from openmaas.identity.law import organisations
from openmaas.ledger.book import find_account, top_up
from openmaas.ledger.law import invoices
from openmaas.ledger.papers.invoice_audit import check_invoices
from openmaas.ledger.papers.invoicing import find_invoice, list_invoices
from openmaas.ledger.papers.rerating import Period, rerate
from openmaas.ledger.prices import set_price
from openmaas.ledger.selling.payers import Payer, set_payer
from openmaas.ledger.writing.records import Closed


def november(office: Office) -> Invoice:
    """The month of the golden invoice, and the one before it: 120.015 paid in, 0.01 used."""
    taxes = (Tax("增值税", 60_000),)
    zone = {"currency": "CNY", "zone": "Asia/Shanghai"}
    office.database.call(set_payer, Payer(organisation_id="org", legal_name="上海示例有限公司", taxes=taxes, **zone))
    office.used("2026-10-31T23:59", Usage(prompt_tokens=10_000))  # 0.01: not of this month
    office.move("topup", 10 * MILLI)
    office.used("2026-11-01T00:00", Usage(123_456, 222_222))  # 0.123456 + 0.444444
    office.move("topup", 100_000 * MILLI)
    office.used("2026-11-15T12:00", Usage(300_000, 100_001, 100_000))  # 0.3 + 0.200002
    office.move("purchase", -12_345 * MILLI, "资源包")
    office.move("credit_note", 500 * MILLI)
    office.used("2026-12-01T00:00", Usage(0, 400_001))  # 0.800002: of the next month
    office.go("2026-12-01T01:00")
    office.issue("2026-10")
    (made,) = office.issue("2026-11")
    return made


def test_a_month_in_chinese_with_taxes_inside_the_prices(office: Office) -> None:
    made = november(office)
    page = page_of(made)
    assert page.title == "账单"
    assert page.facts == (
        ("编号", "ZP-2026-000002"),
        ("开具日期", "2026-12-01"),
        ("账期", "2026-11-01 – 2026-11-30 (Asia/Shanghai)"),
        ("币种", "CNY"),
    )
    assert page.parties[1][1] == ("上海示例有限公司", "org")
    # Running sums 1.067902, 13.412902, 12.912902 are shown as 1.07, 13.41, 12.91; a line is the difference.
    assert page.rows == (
        ("m", "2", "423,456", "100,000", "322,223", "", "1.07"),
        ("购买：资源包", "", "", "", "", "1 件", "12.34"),
        ("抵扣", "", "", "", "", "1 笔", "-0.50"),
    )
    # 12.91 × 6 / 106 = 0.7308
    assert page.sums == (("不含税金额", "12.18"), ("增值税 6 % (已含)", "0.73"), ("合计 (CNY)", "12.91"))
    assert page.balance == (
        ("期初余额", "120.01"),  # 120.005
        ("充值（减退款）", "100.00"),
        ("本期消费", "12.91"),
        ("期末余额", "207.10"),
    )
    assert page.notes == ("精确金额为 12.912902 CNY；累计舍入差额 0.002902 CNY 结转至下期账单。",)
    assert made.balance.closing_nanos == 207_092_098_000


def test_the_next_month_carries_the_rounding_and_tells_what_was_posted_late(office: Office) -> None:
    november(office)
    office.used("2026-11-30T23:59", Usage(prompt_tokens=100_000))  # 0.1, after its month was issued
    office.now_ms = office.at("2026-12-24T12:00")
    correct(office, "2026-12-01T00:00", "2026-12-02T00:00", flat(10**9, 1_831 * 10**6))  # 0.732401831: 0.067600169 back
    office.go("2027-01-01T01:00")
    (made,) = office.issue("2026-12")
    # 0.002902 of before; then running sums 0.802904, 0.735303831, 0.835303831
    assert [(line.kind, line.amount_minor) for line in made.lines] == [("usage", 80), ("correction", -6), ("late", 10)]
    assert (made.number, made.total_minor, made.balance.billed_carry_nanos) == ("ZP-2027-000001", 84, -4_696_169)
    account = office.database.look(find_account, WALLET)
    assert made.balance.closing_nanos == account.posted_nanos
    issued = office.database.look(list_invoices, organisation_id="org", limit=10)
    shown = sum(one.total_minor for one in issued) * 10**7 + issued[-1].balance.billed_carry_nanos
    assert shown == sum(one.balance.billed_nanos for one in issued)
    assert abs(made.balance.closing_minor * 10**7 - made.balance.closing_nanos) <= 15 * 10**6


def correct(office: Office, first: str, last: str, terms: Terms) -> None:
    """What was opened between two moments should have cost by ``terms``."""
    since_ms, until_ms = office.at(first), office.at(last)
    fields = {"model": "m", "currency": "CNY", "terms": terms, "from_ms": since_ms, "until_ms": until_ms}
    office.database.call(set_price, **fields)
    rerate(office.database, office.clock, Period("m", since_ms, until_ms), surcharge=False, dry_run=False)


def test_a_month_in_english_with_taxes_on_top(office: Office) -> None:
    taxes = (Tax("GST", 50_000), Tax("QST", 99_750))
    payer = Payer(organisation_id="org2", currency="USD", taxes=taxes, tax_inclusive=False, address="1 Rue A\nMontréal")
    office.database.call(set_payer, payer)
    office.now_ms = office.at("2026-11-05T00:00")
    office.move("topup", 50_000 * MILLI, currency="USD", organisation="org2")
    office.move("purchase", -10_005 * MILLI, "pro <1>", currency="USD", organisation="org2")
    office.go("2026-12-02T00:00")
    (made,) = office.issue("2026-11", "org2")
    page = page_of(made)
    assert page.rows == (("Purchase: pro <1>", "", "", "", "", "1 item", "10.01"),)
    # 10.01 × 5 % = 0.5005; 10.01 × 9.975 % = 0.99849975
    assert page.sums == (
        ("Net amount", "10.01"),
        ("GST 5 %", "0.50"),
        ("QST 9.975 %", "1.00"),
        ("Total (USD)", "11.51"),
    )
    assert [amount for _, amount in page.balance] == ["0.00", "50.00", "10.01", "39.99"]
    assert page.parties[1][1] == ("某公司", "1 Rue A", "Montréal", "org2")
    html = render_html(made)
    assert "pro &lt;1&gt;" in html
    assert "<script" not in html
    assert "http" not in html


def test_a_pdf_shows_all_of_it_and_brings_its_own_letters(office: Office) -> None:
    made = november(office)
    pdf = render_pdf(made)
    assert pdf == render_pdf(made)
    assert b"/FontFile" in pdf
    shown = pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_range()
    page = page_of(made)
    texts = [page.title, *(t for pair in (*page.facts, *page.sums, *page.balance) for t in pair), *page.notes]
    texts += [cell for row in (page.columns, *page.rows) for cell in row] + list(page.parties[0][1])
    assert not [text for text in texts if text not in shown.replace("\r\n", " ")]


@pytest.mark.parametrize("name", ["주식회사 예시", "Ελλάς ά", "ขอบคุณ", "العربية", "ACME 😀"])
def test_a_pdf_that_could_not_show_every_letter_is_refused_by_them(office: Office, name: str) -> None:
    office.database.call(set_payer, Payer(organisation_id="org", currency="CNY", legal_name=name))
    office.go("2026-11-02T00:00")
    (made,) = office.issue("2026-10")
    with pytest.raises(Conflict, match="take it as HTML") as refused:
        render_pdf(made)
    assert name[-1] in refused.value.detail
    assert name in render_html(made)


def test_a_long_name_of_a_tax_stays_clear_of_its_amount(office: Office) -> None:
    name = "Value added tax of the State of Somewhere, standard rate, " * 3
    office.database.call(set_payer, Payer(organisation_id="org", currency="CNY", taxes=(Tax(name, 60_000),)))
    office.move("purchase", -10_000 * MILLI)
    office.go("2026-11-02T00:00")
    (made,) = office.issue("2026-10")
    page = pypdfium2.PdfDocument(render_pdf(made))[0].get_textpage()
    shown = page.get_text_range()
    (amount,) = [amount for label, amount in page_of(made).sums if label.startswith("Value")]
    found = page.search(amount).get_next()
    assert found is not None
    left = page.get_charbox(found[0])[0]
    begin = shown.index("Value added")
    wide = max(page.get_charbox(begin + offset)[2] for offset in range(len(name)))
    assert wide <= left
    assert name.strip() in " ".join(shown.split())


def test_without_the_extra_a_pdf_is_refused_with_the_next_step(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    made = november(office)
    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(ExtraMissing, match="make setup-documents"):
        render_pdf(made)


def test_a_month_is_issued_once_and_stays_as_it_was(office: Office) -> None:
    made = november(office)
    office.move("topup", 10**9)
    assert office.issue("2026-11") == [made]
    kept = office.database.look(find_invoice, "ZP-2026-000002", "org")
    assert (kept.invoice, kept.html) == (made, render_html(made))
    assert office.database.look(find_invoice, made.id).html_hash == kept.html_hash
    with pytest.raises(ThingUnknown):
        office.database.look(find_invoice, made.id, "org2")
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        office.database.call(lambda tx: tx.exec_driver_sql("UPDATE invoices SET html = ''"))


def test_a_month_waits_for_its_end_and_for_every_journal(office: Office) -> None:
    office.database.call(set_payer, Payer(organisation_id="org", currency="CNY", zone="Asia/Shanghai"))
    office.go("2026-12-01T00:59")
    office.issue("2026-10")
    with pytest.raises(FieldInvalid, match="2026-11-30T17:00"):
        office.issue("2026-11")
    promise = office.journal.open(opened := office.opened("req_open", office.at("2026-11-30T23:59")))
    office.go("2026-12-01T02:00")
    with pytest.raises(Conflict, match="life is not posted"):
        office.issue("2026-11")
    paid = (office.price.charge(usage := Usage(prompt_tokens=1_000), opened.opened_ms),)
    office.journal.close(Closed(opened, office.now_ms, 1, "done", usage, paid, 0), promise)
    office.go("2026-12-01T03:00")
    (made,) = office.issue("2026-11")
    assert [(line.name, line.amount_nanos) for line in made.lines] == [("m", MILLI)]


@pytest.mark.parametrize("period", ["2026-13", "2026-1", "november", "0000-01"])
def test_what_is_no_month_is_named(office: Office, period: str) -> None:
    with pytest.raises(FieldInvalid):
        office.issue(period)


def test_months_are_issued_in_order(office: Office) -> None:
    november(office)
    office.used("2027-01-10T00:00", Usage(prompt_tokens=1_000))
    office.go("2027-02-02T00:00")
    with pytest.raises(Conflict, match="issue 2026-12 first"):
        office.issue("2027-01")
    with pytest.raises(Conflict, match="2026-11 is issued"):
        office.issue("2026-09")


def test_the_first_invoice_is_of_the_month_in_which_money_first_moved(office: Office) -> None:
    office.used("2026-09-30T23:59", Usage(prompt_tokens=1_000))  # posted in October, as every transfer is
    office.used("2026-11-10T00:00", Usage(prompt_tokens=1_000))
    office.go("2026-12-02T00:00")
    assert office.due() == [("org", "2026-09")]
    for period, first in (("2026-11", "2026-09"), ("2026-10", "2026-09")):
        with pytest.raises(Conflict, match=f"issue {first} first"):
            office.issue(period)
    made = [*office.issue("2026-09"), *office.issue("2026-10"), *office.issue("2026-11")]
    assert [one.balance.opening_nanos for one in made] == [0, -MILLI, 120_004 * MILLI]


def test_a_wallet_that_is_further_on_does_not_hinder_another(office: Office) -> None:
    office.now_ms = office.at("2026-11-05T00:00")
    office.move("topup", MILLI, organisation="org2")
    office.go("2026-12-02T00:00")
    (ahead,) = office.issue("2026-11", "org2")
    office.now_ms = office.at("2026-10-25T00:00")  # a machine whose clock is behind
    office.move("topup", MILLI, currency="USD", organisation="org2")
    office.go("2026-12-03T00:00")
    assert office.due() == [("org", "2026-10"), ("org2", "2026-10")]
    (behind,) = office.issue("2026-10", "org2")
    assert (ahead.currency, behind.currency) == ("CNY", "USD")
    assert office.due() == [("org", "2026-10")]
    with pytest.raises(Conflict, match="2026-09 lies before"):
        office.issue("2026-09", "org2")


def test_an_organisation_is_due_for_the_earliest_month_of_all_its_wallets(office: Office) -> None:
    office.now_ms = office.at("2026-09-05T00:00")
    office.move("topup", MILLI, currency="USD")
    office.go("2026-12-02T00:00")
    assert office.due(1) == [("org", "2026-09")]


def test_what_moved_between_two_zones_is_due_and_issued(office: Office) -> None:
    zone = {"organisation_id": "org", "currency": "CNY"}
    office.database.call(set_payer, Payer(**zone, zone="Asia/Shanghai"))
    office.go("2026-11-02T00:00")
    office.issue("2026-10")
    office.database.call(set_payer, Payer(**zone, zone="America/New_York"))
    office.now_ms = office.at("2026-11-01T08:00")  # October there, and behind the end of October in Shanghai
    office.move("topup", MILLI)
    office.now_ms = office.at("2026-12-15T00:00")
    office.move("topup", MILLI)
    office.go("2027-01-02T00:00")
    assert office.due() == [("org", "2026-11")]
    (made,) = office.issue("2026-11")
    assert made.balance.paid_nanos == MILLI
    assert office.due() == [("org", "2026-12")]


def test_the_audit_names_a_first_invoice_that_skips_what_was_before(office: Office) -> None:
    made = november(office)

    def skip(tx: sa.Connection) -> None:
        row = tx.execute(sa.select(invoices).where(invoices.c.id == made.id)).mappings().one()
        content = row["content"].replace('"organisation_id":"org"', '"organisation_id":"org2"')
        copy = {"id": "inv_copy", "sequence": 3, "organisation_id": "org2", "content": content}
        tx.execute(invoices.insert().values(**dict(row) | copy))
        raise Doctored(check_invoices(tx))

    with pytest.raises(Doctored, match="ZP-2026-000002 does not open with 0, though it is the first"):
        office.database.call(skip)


class Doctored(Exception):  # noqa: N818 - it carries what was found out of a transaction that must not stay
    """What the audit said of books that a test spoiled."""


def test_numbers_have_no_gap_whoever_issues_at_once(office: Office) -> None:
    office.now_ms = office.at("2026-11-05T00:00")
    customers = [f"org_{number}" for number in range(8)]
    for customer in customers:
        fields: dict[str, Any] = {"currency": "CNY", "amount_nanos": 10**9, "request_key": "1", "memo": ""}
        office.database.call(top_up, office.clock, customer, **fields)
    office.go("2026-12-05T00:00")
    threads = [threading.Thread(target=office.issue, args=("2026-11", customer)) for customer in customers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    issued = office.database.look(list_invoices, organisation_id=None, limit=100)
    assert sorted(one.number for one in issued) == [f"ZP-2026-{number:06}" for number in range(1, 9)]
    assert {one.organisation_id for one in issued} == {*customers}


def test_the_poster_issues_what_is_due_month_by_month(office: Office) -> None:
    office.database.call(
        lambda tx: tx.execute(organisations.insert().values(id="org", name="ACME", created_ms=office.now_ms))
    )
    office.used("2026-12-10T00:00", Usage(prompt_tokens=1_000))
    office.go("2027-02-02T00:00")
    assert issue_due(office.database, office.clock, ISSUER)
    office.now_ms += 1
    assert issue_due(office.database, office.clock, ISSUER)
    assert not issue_due(office.database, office.clock, ISSUER)
    issued = office.database.look(list_invoices, organisation_id="org", limit=100)
    assert [(one.period, one.number) for one in issued] == [
        ("2026-10", "ZP-2027-000001"),
        ("2026-12", "ZP-2027-000002"),
    ]
    assert issued[0].customer.name == "ACME"


def test_organisations_whose_invoices_are_refused_do_not_starve_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.house.invoicing.INVOICE_CHORE_MAX", 2)
    for number in range(4):
        office.move("topup", MILLI, organisation=f"nobody_{number}")  # no such organisation: refused
    office.database.call(
        lambda tx: tx.execute(organisations.insert().values(id="org", name="ACME", created_ms=office.now_ms))
    )
    office.go("2026-11-02T00:00")
    assert issue_due(office.database, office.clock, ISSUER)
    (made,) = office.database.look(list_invoices, organisation_id=None, limit=9)
    assert made.organisation_id == "org"
    assert not issue_due(office.database, office.clock, ISSUER)


def test_a_house_that_changes_the_prefix_of_its_numbers_goes_on_where_it_was(office: Office) -> None:
    """In the alphabet the new prefix stands before the old one."""
    renamed = Issuer("AC", Party("Renamed"))
    for month, issuer in ((10, ISSUER), (11, renamed), (12, ISSUER)):
        office.used(f"2026-{month}-25T00:00", Usage(1_000 + month))
        office.go("2027-01-02T12:00" if month == 12 else f"2026-{month + 1}-02T12:00")
        office.issue(f"2026-{month}", issuer=issuer)
    numbers = [made.number for made in office.database.look(list_invoices, organisation_id="org", limit=9)]
    assert numbers == ["ZP-2026-000001", "AC-2026-000001", "ZP-2027-000001"]
    assert office.disagreements() == []


def test_a_number_that_is_missing_is_named_for_each_prefix_and_year(tmp_path: Path) -> None:
    office = Office(tmp_path / "data", "sqlite")
    for month in (10, 11):
        office.used(f"2026-{month}-25T00:00", Usage(1_000))
        office.go(f"2026-{month + 1}-02T12:00")
        office.issue(f"2026-{month}")
    office.database.call(lambda tx: tx.exec_driver_sql("DROP TRIGGER invoices_no_delete"))
    office.database.call(lambda tx: tx.exec_driver_sql("DELETE FROM invoices WHERE sequence = 1"))
    # And it goes on from what the one that is missing had.
    said = ["a number is missing", "is rounded in another way", "does not open with 0, though it is the first"]
    assert [sentence.partition("ZP-2026-000002 ")[2] for sentence in office.disagreements()] == said
    office.database.close()


def test_every_unit_that_can_be_counted_has_its_word_in_each_language() -> None:
    for words in WORDS.values():
        assert {f"unit_{unit}" for unit in UNITS} <= words.keys()
