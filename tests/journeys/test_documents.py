"""Documents on a real house: what was used, as a file, as a report, and, once the month is over, on paper."""

from __future__ import annotations

import csv
import http.client
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from openmaas.core.clock import Clock
from openmaas.documents.html import render_html
from openmaas.house.invoicing import issuer_of
from openmaas.house.settings import read
from openmaas.ledger.book import top_up
from openmaas.ledger.papers.invoicing import issue
from openmaas.ledger.posting.batch import mark_settled
from openmaas.store.database import Database

PRICE = {"model": "echo", "input": "1", "output": "2"}
PAYER = {
    "currency": "CNY",
    "zone": "Asia/Shanghai",
    "legal_name": "上海示例有限公司",
    "address": "上海市浦东新区世纪大道 100 号",
    "tax_id": "91310115MA11111111",
    "taxes": [{"name": "增值税", "rate": "0.06"}],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with a price; its books agree when the tests are done."""
    made = Installation(tmp_path_factory.mktemp("documents") / "data", issuer_name="智算云", invoice_prefix="ZP")
    made.start()
    made.ready()
    assert made.admin("POST", "/prices", PRICE)[0] == 201
    yield made
    made.end()


def ask(house: Installation, key: str, **fields: Any) -> dict[str, Any]:
    """One request of three words and an answer of sixteen; its posted receipt."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 16, **fields}
    status, headers, answer = house.ask("POST", "/v1/chat/completions", body, key=key)
    assert status == 200, answer
    return house.receipt(headers["x-request-id"], "posted", key=key)


def test_a_receipt_says_what_was_passed_on(house: Installation) -> None:
    _, key = house.organisation("1")
    whole, stream = ask(house, key), ask(house, key, stream=True)
    assert whole["delivered_tokens"] == whole["completion_tokens"] == 16
    assert stream["delivered_tokens"] == 15  # the first event counts as none, and this engine puts a token in it
    shown = ask(house, key, stream=True, stream_options={"include_usage": True})
    assert shown["delivered_tokens"] == stream["delivered_tokens"]


def test_the_report_of_a_day_agrees_and_tells_who_left(house: Installation) -> None:
    owner, key = house.organisation("1")
    ask(house, key)
    body = {"model": "echo", "messages": [{"role": "user", "content": "a b"}], "max_tokens": 2_000, "stream": True}
    left = leave_in_the_middle(house, key, body)
    day = datetime.now(UTC).date().isoformat()
    status, report = house.admin("GET", f"/reconciliation?day={day}")
    assert status == 200
    rows = {row["cause"]: row for row in report["data"] if row["organisation_id"] == owner}
    assert (rows["agree"]["requests"], rows["agree"]["engine_completion_tokens"]) == (1, 16)
    gone = rows["client_closed"]
    assert gone["requests"] == 1
    assert gone["engine_completion_tokens"] == gone["completion_tokens"] == left["completion_tokens"]
    assert gone["delivered_tokens"] == left["delivered_tokens"] <= left["completion_tokens"]
    assert gone["amount"] == left["amount"]
    command = house.command("ledger", "reconcile", "--day", day, "--json")
    assert json.loads(command.stdout)["data"] == report["data"]
    page = house.admin("GET", f"/reconciliation?day={day}&limit=1")[1]
    after = house.admin("GET", f"/reconciliation?day={day}&after={page['next_after']}")[1]
    assert page["data"] + after["data"] == report["data"]
    assert (page["next_after"], after["next_after"]) == (report["data"][0]["id"], None)


def leave_in_the_middle(house: Installation, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Read the first event of a slow answer and close; the receipt."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({**body, "user": "echo:tokens=2000,pace_ms=20"}), headers
    )
    answer = connection.getresponse()
    request_id = str(answer.getheader("x-request-id"))
    answer.read(64)
    answer.close()
    connection.close()
    receipt = house.receipt(request_id, "posted", key=key)
    assert receipt["outcome"] == "client_closed"
    return receipt


def test_usage_and_statement_come_as_files_to_their_owner_alone(house: Installation) -> None:
    owner, key = house.organisation("1")
    receipts = [ask(house, key) for _ in range(3)]
    status, headers, body = house.ask("GET", "/v1/usage/export?form=csv&bom=true", key=key)
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert headers["content-disposition"] == 'attachment; filename="usage.csv"'
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
    assert [row["request_id"] for row in rows] == [receipt["request_id"] for receipt in receipts]
    assert sum(Decimal(row["amount"]) for row in rows) == sum(Decimal(receipt["amount"]) for receipt in receipts)
    wallet = f"/v1/accounts/wallet:{owner}:CNY/statement?form=jsonl"
    lines = [json.loads(line) for line in house.ask("GET", wallet, key=key)[2].splitlines()]
    assert lines[-1]["balance"] == house.wallet(owner)["posted"]
    _, stranger = house.organisation("1")
    assert house.ask("GET", wallet, key=stranger)[0] == 404
    assert house.ask("GET", "/v1/usage/export?form=jsonl", key=stranger)[2] == b""
    assert house.ask("GET", "/v1/usage/export?form=parquet", key=key)[2].startswith(b"PAR1")
    status, _, told = house.ask("GET", "/v1/usage/export?form=xlsx", key=key)
    assert (status, json.loads(told)["error"]["param"]) == (400, "form")
    command = house.command("usage", "export", "--organisation", owner, "--form", "jsonl")
    assert len(command.stdout.splitlines()) == 3, command.stderr
    command = house.command("ledger", "statement", "--organisation", owner, "--form", "jsonl")
    assert json.loads(command.stdout.splitlines()[-1])["balance"] == lines[-1]["balance"]


def test_an_invoice_is_asked_for_before_its_time_and_comes_in_every_form_after(house: Installation) -> None:
    owner, key = house.organisation("1")
    status, payer = house.admin("PUT", f"/organisations/{owner}/payer", PAYER)
    assert (status, payer["legal_name"], payer["taxes"]) == (200, PAYER["legal_name"], PAYER["taxes"])
    assert house.admin("GET", f"/organisations/{owner}/payer")[1] == payer
    for _ in range(3):
        ask(house, key)
    period = datetime.now(UTC).strftime("%Y-%m")
    status, told = house.admin("POST", f"/organisations/{owner}/invoices", {"period": period})
    assert (status, told["error"]["param"]) == (400, "period")
    number = issued_later(house, owner, period)
    status, made = house.admin("GET", f"/invoices/{number}")
    assert (made["customer"]["name"], made["issuer"]["name"]) == ("上海示例有限公司", "智算云")
    assert [(line["name"], line["requests"], line["completion_tokens"]) for line in made["lines"]] == [("echo", 3, 48)]
    assert Decimal(made["lines"][0]["amount"]) == 3 * Decimal(3 + 2 * 16) / 10**6
    assert Decimal(made["balance"]["closing"]) == Decimal(house.wallet(owner)["posted"])
    html = house.ask("GET", f"/v1/invoices/{made['id']}", key=key, headers={"accept": "text/html"})
    assert html[1]["content-type"] == "text/html; charset=utf-8"
    assert "上海示例有限公司" in html[2].decode()
    pdf = house.ask("GET", f"/v1/invoices/{made['id']}.pdf", key=key)
    assert (pdf[1]["content-type"], pdf[2][:5]) == ("application/pdf", b"%PDF-")
    assert [one["number"] for one in json.loads(house.ask("GET", "/v1/invoices", key=key)[2])["data"]] == [number]
    _, stranger = house.organisation("1")
    assert house.ask("GET", f"/v1/invoices/{made['id']}", key=stranger)[0] == 404
    shown = house.command("invoices", "show", number)
    assert "合计 (CNY): 0.00" in shown.stdout
    assert number in house.command("invoices", "list").stdout


def issued_later(house: Installation, owner: str, period: str) -> str:
    """Issue as a program would whose clock is at the end of the next month: nobody waits for it here."""
    later = Clock(wall_ms=lambda: time.time_ns() // 1_000_000 + 62 * 24 * 3600 * 1000)
    database = Database(house.address)
    try:
        journals = {path.name: later.wall_ms() for path in (house.data / "journals").iterdir()}
        settings = read({"data": str(house.data)}, {"OPENMAAS_ISSUER_NAME": "智算云"}).settings

        def settle_and_issue(tx: Any) -> str:
            mark_settled(tx, journals)
            (made,) = issue(tx, later, owner, period, name="x", issuer=issuer_of(settings), render=render_html)
            return made.number

        return database.call(settle_and_issue)
    finally:
        database.close()


def test_the_poster_issues_what_is_over_when_the_settings_say_so(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data", invoices_automatic="true", invoice_prefix="AUTO")
    house.start()
    owner, _ = house.organisation("1")
    assert house.stop() == 0
    earlier = Clock(wall_ms=lambda: time.time_ns() // 1_000_000 - 62 * 24 * 3600 * 1000)
    database = Database(house.address)
    database.call(top_up, earlier, owner, currency="CNY", amount_nanos=10**9, request_key="earlier", memo="")
    database.close()
    house.start()
    house.ready()
    deadline = time.monotonic() + 30
    while not (found := house.admin("GET", f"/organisations/{owner}/invoices")[1]["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    period = datetime.fromtimestamp(earlier.wall_ms() / 1000, UTC)
    assert [(one["period"], one["number"][:5]) for one in found] == [(period.strftime("%Y-%m"), "AUTO-")]
    assert found[0]["balance"]["paid_shown"] == "1.00"
    house.end()
