"""A corrected price: the difference comes back, once; what is dearer is taken when asked, as far as funds go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict
from openmaas.core.money import MILLION, NANO
from openmaas.core.terms import flat
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, transfer
from openmaas.ledger.law import receipts, returns
from openmaas.ledger.papers.rerating import Outcome, batch_of, rerate
from openmaas.ledger.posting.hours import Used, list_used
from openmaas.ledger.posting.receipts import find_posted
from openmaas.ledger.prices import price_book, set_price
from openmaas.ledger.selling.standing import next_return
from openmaas.ledger.spending.holds import Fill
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.store.audit_log import Actor, list_entries
from servers import STORES
from shop import ALL, CLOCK, CNY, PACK, WALLET, Shop


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop on each database."""
    made = Shop(request.param, tmp_path)
    yield made
    made.agrees()
    made.database.close()


def test_what_was_paid_too_much_comes_back_once_in_one_transfer(shop: Shop) -> None:
    for number in range(3):
        shop.sell(f"req_{number}", Usage(MILLION, MILLION), {WALLET: 5 * CNY})
    assert shop.has(WALLET) == 91 * CNY
    shop.set_price(1, 1)
    assert shop.rerate(dry_run=True).given_nanos == {WALLET: 3 * CNY}
    assert shop.corrections() == []
    assert shop.rerate().given_nanos == {WALLET: 3 * CNY}
    assert shop.rerate() == Outcome(3)
    assert (shop.has(WALLET), shop.corrections()) == (94 * CNY, [3 * CNY])
    shop.set_price(0, 1)
    assert shop.rerate().given_nanos == {WALLET: 3 * CNY}
    assert shop.has(WALLET) == 97 * CNY
    receipt, _ = shop.database.look(find_posted, "req_1")
    assert receipt is not None
    assert [row["change_nanos"] for row in receipt["corrections"]] == [CNY, CNY]
    assert receipt["amount_nanos"] == 3 * CNY


def test_each_batch_has_its_entry_in_the_audit_log_beside_what_it_books(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.papers.rerating.RERATE_BATCH", 2)
    for number in range(3):
        shop.sell(f"req_{number}", Usage(MILLION, 0), {WALLET: 5 * CNY})
    shop.set_price(0, 0)
    asked = msgspec.structs.replace(ALL, organisation_id="org")
    who = Actor("cli:alice", CLOCK)
    rerate(shop.database, CLOCK, asked, surcharge=False, dry_run=True, who=who)
    assert shop.database.look(list_entries, after=0, limit=9) == []
    price = shop.database.look(price_book).at("m", 1, "CNY")
    assert price is not None
    taken = {"request_key": f"correction:{WALLET}:req_2:{price.version}", "kind": "topup", "amount_nanos": 1}
    shop.database.call(transfer, CLOCK, debit="funding:CNY", credit=WALLET, **taken)
    with pytest.raises(Conflict):  # in the second batch
        rerate(shop.database, CLOCK, asked, surcharge=False, dry_run=False, who=who)
    assert len(shop.corrections()) == 1
    ((entry, _),) = shop.database.look(list_entries, after=0, limit=9)
    assert (entry.actor, entry.action, entry.subject) == ("cli:alice", "ledger.rerate", "m")
    assert msgspec.json.decode(entry.detail)["organisation_id"] == "org"


def test_what_is_dearer_is_taken_when_asked_and_never_above_the_hold(shop: Shop) -> None:
    shop.sell("req_1", Usage(MILLION, MILLION), {WALLET: 5 * CNY})
    shop.set_price(2, 9)
    assert shop.rerate().owed_nanos == {WALLET: 2 * CNY}
    assert shop.has(WALLET) == 97 * CNY
    assert shop.rerate(surcharge=True).taken_nanos == {WALLET: 2 * CNY}
    assert shop.rerate(surcharge=True) == Outcome(1)
    shop.set_price(1, 2)  # it was right after all
    assert shop.rerate().given_nanos == {WALLET: 2 * CNY}
    assert shop.has(WALLET) == 97 * CNY


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_surcharge_goes_as_far_as_funds_are_free(shop: Shop, monkeypatch: pytest.MonkeyPatch, dry_run: bool) -> None:
    monkeypatch.setattr("openmaas.ledger.papers.rerating.RERATE_BATCH", 2)
    for number in range(5):
        shop.sell(f"req_{number}", Usage(MILLION, MILLION), {WALLET: 10 * CNY})
    spent = {"request_key": "r", "kind": "refund", "debit": WALLET, "credit": "funding:CNY"}
    shop.database.call(transfer, CLOCK, amount_nanos=shop.has(WALLET) - 7 * CNY, **spent)
    shop.set_price(1, 4)  # two more for each
    found = shop.rerate(surcharge=True, dry_run=dry_run)
    assert (found.taken_nanos, found.owed_nanos) == ({WALLET: 6 * CNY}, {WALLET: 4 * CNY})
    assert shop.has(WALLET) == (7 if dry_run else 1) * CNY
    assert shop.corrections() == ([] if dry_run else [4 * CNY, 2 * CNY])


def test_pack_and_wallet_are_corrected_each_in_its_own(shop: Shop) -> None:
    holds = {PACK: MILLION * NANO, WALLET: 3 * CNY}
    shop.sell("req_1", Usage(MILLION, MILLION), holds)  # two million tokens: the pack pays half, the wallet half of 3
    assert (shop.has(PACK), shop.has(WALLET)) == (0, 98_500_000_000)
    shop.set_price(1, 1)
    assert shop.rerate().given_nanos == {WALLET: 500_000_000}
    quarter = flat(MILLION * NANO // 4, MILLION * NANO // 4)
    shop.database.call(set_price, model="m", currency="tokens", terms=quarter, from_ms=0)
    found = shop.rerate()  # half a million tokens now cover all of it
    assert found.given_nanos == {PACK: MILLION * NANO // 2, WALLET: CNY}
    assert (shop.has(PACK), shop.has(WALLET)) == (MILLION * NANO // 2, 100 * CNY)


def test_what_the_operator_bore_is_not_asked_for_and_not_given_back(shop: Shop) -> None:
    shop.sell("req_1", Usage(MILLION, 2 * MILLION), {WALLET: 3 * CNY})  # costs 5
    shop.set_price(1, 1)  # would cost 3
    assert shop.rerate(surcharge=True) == Outcome(1)
    assert shop.has("operator_excess:CNY") == -2 * CNY


def test_a_rolling_window_gets_back_what_was_paid_in_the_end(shop: Shop) -> None:
    window = "window:org:sub/5h:credits"
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY, CNY), from_ms=0)
    fill = {"fill": Fill(10 * CNY, 10**9), "least_nanos": 0, "wish_nanos": 0, "share": 1}
    shop.database.call(open_journal, "rly_w", "home", 1)
    shop.database.call(lease, CLOCK, window, Step("rly_w", 1), **fill)
    shop.sell("req_1", Usage(2 * MILLION, 2 * MILLION), {window: 5 * CNY})
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY // 2, CNY // 2), from_ms=0)
    assert shop.rerate().given_nanos == {window: 2 * CNY}
    assert shop.has(window) == 8 * CNY
    later = Clock(wall_ms=lambda: CLOCK.wall_ms() + 2 * 10**9)
    shop.database.call(lease, later, window, Step("rly_w", 2), **fill)
    assert shop.has(window) == 10 * CNY
    shop.database.call(set_price, model="m", currency="credits", terms=flat(0, 0), from_ms=0)
    assert shop.rerate() == Outcome(1)  # it came back already


def test_a_rolling_window_gets_back_what_one_request_pays_more_beside_another_that_pays_nothing(shop: Shop) -> None:
    """Both were posted in one batch, so one transfer comes back for both; it is never without a row meanwhile."""
    window = "window:org:sub/5h:credits"
    fill = {"fill": Fill(10 * CNY, 10**9), "least_nanos": 0, "wish_nanos": 0, "share": 1}
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY, CNY), from_ms=0)
    shop.database.call(open_journal, "rly_w", "home", 1)
    shop.database.call(lease, CLOCK, window, Step("rly_w", 1), **fill)
    shop.sell_many({"req_1": 1, "req_2": 5}, Usage(MILLION, 0), {window: 5 * CNY})
    free = flat(0, 0)
    shop.database.call(set_price, model="m", currency="credits", terms=free, from_ms=4)
    assert shop.rerate().given_nanos == {window: CNY}  # of the second one
    shop.database.call(set_price, model="m", currency="credits", terms=free, from_ms=0)
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY, CNY), from_ms=4)
    found = shop.rerate(surcharge=True)
    assert (found.given_nanos, found.taken_nanos) == ({window: CNY}, {window: CNY})
    assert shop.has(window) == 9 * CNY
    later = Clock(wall_ms=lambda: CLOCK.wall_ms() + 2 * 10**9)
    shop.database.call(lease, later, window, Step("rly_w", 2), **fill)
    assert shop.has(window) == 10 * CNY


def test_a_rolling_window_that_corrections_gave_all_back_gets_nothing_more_when_it_is_due(shop: Shop) -> None:
    window = "window:org:sub/5h:credits"
    fill = {"fill": Fill(10 * CNY, 10**9), "least_nanos": 0, "wish_nanos": 0, "share": 1}
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY, CNY), from_ms=0)
    shop.database.call(open_journal, "rly_w", "home", 1)
    shop.database.call(lease, CLOCK, window, Step("rly_w", 1), **fill)
    shop.sell("req_1", Usage(MILLION, 0), {window: 5 * CNY})
    assert shop.database.look(next_return, shop.database.look(find_account, window)) is not None
    shop.database.call(set_price, model="m", currency="credits", terms=flat(0, 0), from_ms=0)
    shop.rerate()
    assert shop.database.look(next_return, shop.database.look(find_account, window)) is None
    later = Clock(wall_ms=lambda: CLOCK.wall_ms() + 2 * 10**9)
    shop.database.call(lease, later, window, Step("rly_w", 2), **fill)
    assert shop.has(window) == 10 * CNY
    kept = sa.select(returns.c.transfer_id)
    assert shop.database.look(lambda tx: tx.execute(kept).all()) == []


def test_usage_by_the_quarter_has_the_credits_that_were_paid_in_the_end_and_each_once(shop: Shop) -> None:
    windows = ("window:org:sub/5h:credits", "window:org:sub/week/0:credits")
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY, CNY), from_ms=0)
    shop.database.call(open_journal, "rly_w", "home", 1)
    for window in windows:
        fill = {"fill": Fill(10 * CNY, 10**9), "least_nanos": 0, "wish_nanos": 0, "share": 1}
        shop.database.call(lease, CLOCK, window, Step("rly_w", 1), **fill)
    shop.sell("req_1", Usage(2 * MILLION, MILLION, MILLION), {windows: 5 * CNY})
    shop.sell("req_2", Usage(MILLION, MILLION), {WALLET: 5 * CNY})
    used = Used(0, "m", 2, 3 * MILLION, MILLION, 2 * MILLION, 3 * CNY)
    asked = {"since_ms": 0, "until_ms": 2}
    assert shop.database.look(list_used, "org", **asked) == [used]
    shop.database.call(set_price, model="m", currency="credits", terms=flat(CNY // 2, CNY // 2), from_ms=0)
    shop.rerate()
    assert shop.database.look(list_used, "org", **asked) == [msgspec.structs.replace(used, credits_nanos=3 * CNY // 2)]
    assert shop.database.look(list_used, "org", since_ms=2, until_ms=9) == []
    assert shop.database.look(list_used, "somebody else", **asked) == []


def test_a_budget_that_counted_along_is_corrected_with_the_wallet_or_not_at_all(shop: Shop) -> None:
    budget = "budget:org:bud/0:CNY"
    grant = {"kind": "grant", "debit": "allowance:CNY", "credit": budget}
    shop.database.call(transfer, CLOCK, request_key="b", amount_nanos=9 * CNY, **grant)
    shop.sell("req_1", Usage(MILLION, MILLION), {(WALLET, budget): 9 * CNY})
    lowered = {"kind": "grant", "debit": budget, "credit": "allowance:CNY"}
    shop.database.call(transfer, CLOCK, request_key="l", amount_nanos=5 * CNY, **lowered)
    assert (shop.has(WALLET), shop.has(budget)) == (97 * CNY, CNY)
    shop.set_price(1, 1)
    assert shop.rerate().given_nanos == {WALLET: CNY, budget: CNY}
    assert (shop.has(WALLET), shop.has(budget)) == (98 * CNY, 2 * CNY)
    shop.set_price(2, 3)  # three more, which the wallet has and the budget has not
    assert shop.rerate(surcharge=True).owed_nanos == {WALLET: 3 * CNY, budget: 3 * CNY}
    shop.set_price(1, 3)
    assert shop.rerate(surcharge=True).taken_nanos == {WALLET: 2 * CNY, budget: 2 * CNY}
    assert (shop.has(WALLET), shop.has(budget)) == (96 * CNY, 0)


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("UPDATE corrections SET change_nanos = change_nanos + 1", "its rows say"),
        ("UPDATE corrections SET change_nanos = change_nanos + 1", "was corrected to"),
        ("UPDATE corrections SET change_nanos = change_nanos + 1", "usage by day"),
        ("DELETE FROM corrections", "its rows say 0"),
        ("UPDATE transfers SET amount_nanos = amount_nanos - 1 WHERE kind = 'correction'", "its transfers say"),
        ("UPDATE transfers SET amount_nanos = amount_nanos - 1 WHERE kind = 'correction'", "its rows say"),
    ],
)
def test_a_correction_that_was_tampered_with_is_found(shop: Shop, tmp_path: Path, tampering: str, said: str) -> None:
    shop.sell("req_1", Usage(MILLION, MILLION), {WALLET: 5 * CNY})
    shop.set_price(1, 1)
    shop.rerate()
    server = shop.database.engine.dialect.name == "postgresql"

    def tampered(tx: sa.Connection) -> list[str]:
        for table in ("corrections", "transfers"):
            names = [f"{table}_append_only ON {table}"] if server else [f"{table}_no_update", f"{table}_no_delete"]
            for name in names:
                tx.exec_driver_sql(f"DROP TRIGGER {name}")
        assert audit(tx, tmp_path, {}).disagreements == []
        tx.exec_driver_sql(tampering)
        return audit(tx, tmp_path, {}).disagreements

    with shop.database.engine.connect() as tx:
        found = tampered(tx)
        tx.rollback()
    assert any(said in sentence for sentence in found), found


def test_the_receipts_of_a_model_are_found_by_an_index_on_each_database(shop: Shop) -> None:
    """Among many of other models, which nobody reads."""
    shop.sell("req_0", Usage(1, 1), {WALLET: CNY})
    with shop.database.engine.connect() as tx:
        first = dict(tx.execute(sa.select(receipts)).mappings().one())
        places = [("m" if number % 100 == 0 else f"m{number % 7}", number) for number in range(5_000)]
        more = [{**first, "request_id": f"rec_{ms:05d}", "model": model, "opened_ms": ms} for model, ms in places]
        tx.execute(receipts.insert(), more)
        tx.exec_driver_sql("ANALYZE")
        asked = batch_of(ALL, (0, "")).compile(tx.engine, compile_kwargs={"literal_binds": True})
        way = "EXPLAIN QUERY PLAN" if tx.engine.dialect.name == "sqlite" else "EXPLAIN"
        plan = "\n".join(str(row) for row in tx.exec_driver_sql(f"{way} {asked}"))
        assert "receipts_by_model" in plan, plan
        tx.rollback()
