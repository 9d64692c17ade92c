"""Statements and usage as files: exact, whole, a page at a time, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from desk import CLOCK, WALLET, Desk
from openmaas.control.exports import STATEMENT, Export
from openmaas.core.clock import iso_utc
from openmaas.core.errors import ExtraMissing, FieldInvalid, ThingUnknown
from openmaas.core.terms import flat
from openmaas.core.usage import Usage
from openmaas.documents.sheets import sheet
from openmaas.ledger.book import find_account, own_id, top_up, transfer
from openmaas.ledger.legs import Leg
from openmaas.ledger.papers import exporting
from openmaas.ledger.prices import set_price
from openmaas.ledger.spending.leasing import Step, lease
from openmaas.ledger.writing.records import Closed
from servers import STORES, new_database

ALL = ("", "")


@pytest.fixture(params=STORES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "data", new_database(request.param, tmp_path))
    yield made
    made.database.close()


def pay(desk: Desk, number: int, memo: str = "") -> None:
    fields: dict[str, Any] = {"currency": "CNY", "amount_nanos": number * 10**9, "request_key": f"more {number}"}
    desk.database.call(top_up, CLOCK, "org", memo=memo, **fields)


def lines(pieces: Iterator[bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(pieces).decode("utf-8-sig"), newline="")))


def test_a_statement_has_every_movement_and_the_balance_after_each(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "EXPORT_PAGE_MAX", 2)
    for number in range(1, 6):
        pay(desk, number)
    pair = {"debit": WALLET, "credit": own_id("revenue", "CNY")}
    fields: dict[str, Any] = {"kind": "purchase", "amount_nanos": 500_000_000, **pair}
    desk.database.call(transfer, CLOCK, request_key="p", **fields)
    desk.database.call(transfer, CLOCK, request_key="q", pending=True, **fields)
    rows = lines(Export(*ALL).statement(desk.database, WALLET))
    assert [row["kind"] for row in rows] == ["opening", *["topup"] * 6, *["purchase"] * 2]
    assert [row["change"] for row in rows[-3:]] == ["5.00", "-0.50", "0.00"]
    balance = Decimal(0)
    for row in rows:
        balance += Decimal(row["change"])
        assert Decimal(row["balance"]) == balance
    account = desk.database.look(find_account, WALLET)
    assert balance * 10**9 == account.posted_nanos
    since = rows[4]["at"]
    later = lines(Export(since, "").statement(desk.database, WALLET))
    assert later[-1] == rows[-1]
    first = [row for row in rows[1:] if row["at"] >= since]
    assert later[1:] == first
    assert Decimal(later[0]["balance"]) == Decimal(first[0]["balance"]) - Decimal(first[0]["change"])


def test_usage_has_every_request_of_the_period_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "EXPORT_PAGE_MAX", 3)
    journal, now_ms = desk.relay("life"), CLOCK.wall_ms()
    for number in range(10):  # three at each moment
        desk.run(journal, f"req_{number}", Usage(10, number), now_ms + number // 3)
    desk.poster.step()
    for owner in (None, "org"):
        rows = lines(Export(*ALL).usage(desk.database, owner))
        assert [row["request_id"] for row in rows] == [f"req_{number}" for number in range(10)]
    assert (rows[7]["completion_tokens"], rows[7]["amount"], rows[7]["estimated"]) == ("7", "0.000024", "false")
    assert rows[7]["delivered_tokens"] == ""  # the desk is no relay: nobody knows
    part = lines(Export(iso_utc(now_ms + 1), iso_utc(now_ms + 2)).usage(desk.database, "org"))
    assert [row["request_id"] for row in part] == ["req_3", "req_4", "req_5"]
    assert lines(Export(*ALL).usage(desk.database, "nobody")) == []
    parsed = [json.loads(line) for line in b"".join(Export(*ALL, "jsonl").usage(desk.database, "org")).splitlines()]
    assert [row["amount"] for row in parsed] == [row["amount"] for row in rows]
    assert parsed[0]["delivered_tokens"] is None


def test_usage_has_what_each_account_paid_of_a_request_in_every_form(desk: Desk) -> None:
    pack, tokens = "pack:org:p1:tokens", flat(10**15, 10**15)
    grant = {"kind": "grant", "debit": own_id("allowance", "tokens"), "credit": pack, "amount_nanos": 4 * 10**9}
    desk.database.call(transfer, CLOCK, request_key="g", **grant)
    price = desk.database.call(set_price, model="m", currency="tokens", terms=tokens, from_ms=0)
    journal = desk.relay("life")
    desk.database.call(lease, CLOCK, pack, Step("life", 1), least_nanos=1, wish_nanos=4 * 10**9, share=1)
    opened = desk.opened("req_1", CLOCK.wall_ms())
    legs = (Leg((pack,), "tokens", price.version, 4 * 10**9), *opened.legs)
    opened = msgspec.structs.replace(opened, legs=legs)
    closed = Closed(opened, 2, 1, "done", Usage(10, 6), (4 * 10**9, 16_500), 0)  # a quarter of 16 tokens, and of 22,000
    journal.close(closed, journal.open(opened))
    desk.run(journal, "req_2", Usage(1), CLOCK.wall_ms() + 1)
    desk.poster.step()
    rows = lines(Export(*ALL).usage(desk.database, None))
    both = [f"{pack}=4.00; {WALLET}=0.0000165", f"{WALLET}=0.000001"]
    assert [row["charges"] for row in rows] == both
    assert (rows[0]["amount"], rows[0]["currency"]) == ("0.0000165", "CNY")
    told = [json.loads(line) for line in b"".join(Export(*ALL, "jsonl").usage(desk.database, "org")).splitlines()]
    shown = [{"account_id": pack, "amount": "4.00"}, {"account_id": WALLET, "amount": "0.0000165"}]
    assert told[0]["charges"] == shown
    table = pyarrow.parquet.read_table(io.BytesIO(b"".join(Export(*ALL, "parquet").usage(desk.database, "org"))))
    found = table.to_pylist()[0]["charges"]
    assert [(each["account_id"], each["amount"]) for each in found] == [(pack, 4), (WALLET, Decimal("0.0000165"))]


def test_parquet_holds_the_same_with_exact_types(desk: Desk) -> None:
    pay(desk, 3, "第一笔")
    pieces = list(Export(*ALL, "parquet").statement(desk.database, WALLET))
    assert len(pieces) == 4  # a row group leaves when it is written
    found = pyarrow.parquet.read_table(io.BytesIO(b"".join(pieces)))
    assert str(found.schema.field("balance").type) == "decimal128(28, 9)"
    assert str(found.schema.field("at").type) == "timestamp[ms, tz=UTC]"
    rows = found.to_pylist()
    assert rows[-1]["memo"] == "第一笔"
    assert [row["change"] for row in rows] == [0, 1_000_000, 3]
    said = lines(Export(*ALL).statement(desk.database, WALLET))
    assert [Decimal(row["balance"]) for row in said] == [row["balance"] for row in rows]
    empty = Export("2020-01-01", "2020-01-02", "parquet").usage(desk.database, "org")
    assert pyarrow.parquet.read_table(io.BytesIO(b"".join(empty))).num_rows == 0


@pytest.mark.parametrize("memo", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", '=HYPERLINK("http://x")'])
def test_a_cell_that_a_spreadsheet_would_calculate_is_text(memo: str) -> None:
    row = dict.fromkeys(STATEMENT, "") | {"memo": memo, "at_ms": 0, "change_nanos": -(10**9), "balance_nanos": 0}
    (read,) = lines(iter([(made := sheet("csv", STATEMENT)).begin(), made.rows([row])]))
    assert read["memo"] == f"'{memo}"
    assert read["change"] == "-1.00"  # a number stays one


def test_a_file_for_excel_begins_with_its_mark_and_others_do_not(desk: Desk) -> None:
    pay(desk, 1, "充值, 含“引号”")
    for bom in (True, False):
        body = b"".join(Export(*ALL, bom=bom).statement(desk.database, WALLET))
        assert body.startswith(b"\xef\xbb\xbf") == bom
        assert lines(iter([body]))[-1]["memo"] == "充值, 含“引号”"
        assert b"\r\n" in body


def test_what_cannot_be_exported_is_named_before_a_byte(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ThingUnknown):
        Export(*ALL).statement(desk.database, "wallet:nobody:CNY")
    with pytest.raises(FieldInvalid, match="xlsx"):
        Export(*ALL, "xlsx").usage(desk.database, None)
    with pytest.raises(FieldInvalid, match="since"):
        Export("yesterday", "").usage(desk.database, None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match="make setup-parquet"):
        Export(*ALL, "parquet").usage(desk.database, None)
