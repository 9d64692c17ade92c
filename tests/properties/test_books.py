"""The books: money neither appears nor vanishes, whatever the order of events."""

from __future__ import annotations

import asyncio
import resource
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openmaas.core.bounds import ORPHAN_GRACE_S
from openmaas.core.clock import Clock
from openmaas.core.errors import InsufficientFunds, JournalFull
from openmaas.core.money import charge_nanos, parse_amount, show_amount, worst_nanos
from openmaas.core.terms import Band, Terms, flat
from openmaas.core.usage import UNITS, Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, settle, top_up, transfer, wallet_id
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.prices import set_price
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.journal import Journal, Position, read_on
from openmaas.ledger.writing.records import Closed, Opened, Progress
from servers import STORES, new_database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")


@given(units=st.integers(0, 10**9), price=st.integers(0, 10**12))
def test_a_worst_case_is_never_below_the_charge(units: int, price: int) -> None:
    assert worst_nanos(units, price) >= charge_nanos(units, price)
    assert abs(charge_nanos(units, price) * 10**6 - units * price) <= 10**6 // 2


@given(nanos=st.integers(-(10**18), 10**18))
def test_an_amount_reads_back_as_it_was_shown(nanos: int) -> None:
    assert parse_amount(show_amount(nanos)) == nanos


def opened_with(request_id: str, hold: int, price_version: int = 1, legs: int = 1) -> Opened:
    """A request that the wallet pays."""
    leg = Leg((WALLET,), "CNY", price_version, hold)
    return Opened(request_id, 1, "k", "p", "org", "m", "d", (leg,) * legs, batch=False)


class Books(RuleBasedStateMachine):
    """Top-ups, refunds, leases, requests, relays and posters that die; the audit agrees after each step."""

    store = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.database = new_database(self.store, self.folder)
        terms = flat(10**9, 2 * 10**9)
        self.price = self.database.call(set_price, model="m", currency="CNY", terms=terms, from_ms=0)
        self.put_in = 0
        self.pending: list[str] = []
        self.counts: dict[str, Usage] = {}
        self.billed: dict[str, int] = {}
        self.relays = 0
        self.now_s = 0.0
        self.begin_relay()
        self.begin_poster()

    def begin_poster(self) -> None:
        def counts(asked: dict[str, str]) -> dict[str, Usage]:
            return {i: self.counts[i] for i in asked if i in self.counts}

        self.poster = Poster(
            self.database,
            self.folder / "journals",
            "home",
            Clock(mono_s=lambda: self.now_s),
            counts,
            lambda _tx, _fresh: None,
            lambda _before_ms: None,
        )

    def begin_relay(self) -> None:
        self.relays += 1
        self.life = f"rly_{self.relays}"
        self.database.call(open_journal, self.life, "home", CLOCK.wall_ms())
        self.turn = 0
        self.journal = Journal(self.folder / "journals" / self.life)
        self.free = 0
        self.running: list[tuple[Opened, int]] = []

    @rule(nanos=st.integers(1, 10**7))
    def tops_up(self, nanos: int) -> None:
        key = CLOCK.new_id("pay")
        for _ in range(2):
            self.database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=nanos, request_key=key, memo="")
        self.put_in += nanos

    @rule(nanos=st.integers(1, 10**7))
    def begins_a_refund(self, nanos: int) -> None:
        fields = {"kind": "refund", "debit": WALLET, "credit": "funding:CNY", "pending": True}
        try:
            made = self.database.call(transfer, CLOCK, request_key=CLOCK.new_id("ref"), amount_nanos=nanos, **fields)
        except InsufficientFunds:
            return
        self.pending.append(made.id)

    @precondition(lambda self: self.pending)
    @rule(post=st.booleans())
    def ends_a_refund(self, post: bool) -> None:
        made = self.database.call(settle, CLOCK, self.pending.pop(), post=post)
        self.put_in -= made.amount_nanos if post else 0

    @rule(least=st.integers(1, 10**6))
    def leases(self, least: int) -> None:
        self.turn += 1
        fields = {"least_nanos": least, "wish_nanos": 4 * least, "share": 4}
        for _ in range(2):  # the answer was lost, and the same step is asked again
            granted = self.database.call(lease, CLOCK, WALLET, Step(self.life, self.turn), **fields)
        self.free += granted

    @precondition(lambda self: self.free >= 1_000)
    @rule(part=st.floats(0.1, 1.0))
    def opens(self, part: float) -> None:
        hold = int(self.free * part)
        opened = opened_with(CLOCK.new_id("req"), hold, self.price.version)
        self.running.append((opened, self.journal.open(opened)))
        self.free -= hold

    @precondition(lambda self: self.running)
    @rule(prompt=st.integers(0, 500), completion=st.integers(0, 500))
    def closes(self, prompt: int, completion: int) -> None:
        opened, promise = self.running.pop()
        usage = Usage(prompt, completion)
        cost, held = self.price.charge(usage, opened.opened_ms), opened.legs[0].hold_nanos
        amount = min(cost, held)
        self.journal.close(Closed(opened, 2, 1, "done", usage, (amount,), cost - amount), promise)
        self.counts[opened.request_id] = usage
        self.billed[opened.request_id] = amount
        self.free += held - amount

    @precondition(lambda self: self.running)
    @rule(counted=st.booleans(), completion=st.integers(1, 500))
    def dies(self, counted: bool, completion: int) -> None:
        for opened, _ in self.running:
            usage = Usage(7, completion)
            if counted:
                self.counts[opened.request_id] = usage
            else:
                self.journal.progress(Progress(opened.request_id, usage))
            self.billed[opened.request_id] = min(self.price.charge(usage, 1), opened.legs[0].hold_nanos)
        self.journal.end()
        self.begin_relay()

    @rule(forgets=st.booleans())
    def posts(self, forgets: bool) -> None:
        if forgets:
            self.begin_poster()  # it was killed, and begins from what it had committed
        self.poster.step()
        self.now_s += ORPHAN_GRACE_S  # for a relay that it has just found dead
        self.poster.step()

    @invariant()
    def the_audit_agrees(self) -> None:
        posted = self.database.look(_receipts)
        known = {i: usage for i, usage in self.counts.items() if i in posted}
        assert self.database.look(audit, self.folder / "journals", known).disagreements == []
        assert {i: self.billed[i] for i in posted} == posted

    def teardown(self) -> None:
        self.running.clear()
        open_ones = set(self.database.look(_receipts))
        self.journal.end()
        self.posts(False)
        self.posts(False)
        posted = self.database.look(_receipts)
        assert open_ones <= set(posted)
        assert all(posted.get(i) == amount for i, amount in self.billed.items())
        if self.put_in:
            account = self.database.look(find_account, WALLET)
            assert account.posted_nanos == self.put_in - sum(posted.values())
            assert account.leased_nanos == 0
        self.database.close()


def _receipts(tx: sa.Connection) -> dict[str, int]:
    return {row[0]: row[1] for row in tx.execute(sa.text("SELECT request_id, amount_nanos FROM receipts"))}


class BooksOnPostgresql(Books):
    """The same on a server."""

    store = "postgresql"


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestBooksOnPostgresql = BooksOnPostgresql.TestCase
TestBooksOnPostgresql.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("store", STORES)
def test_the_database_itself_refuses_an_overdraft_and_a_changed_transfer(store: str, tmp_path: Path) -> None:
    database = new_database(store, tmp_path)
    database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=10, request_key="1", memo="")
    for statement in (
        "UPDATE accounts SET leased_nanos = 11 WHERE kind = 'wallet'",
        "UPDATE transfers SET amount_nanos = 1",
        "DELETE FROM transfers",
    ):
        with pytest.raises(sa.exc.IntegrityError):
            database.call(lambda tx, text=statement: tx.execute(sa.text(text)))
    database.close()


def test_a_full_disk_refuses_a_request_and_never_a_closing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "life")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    opened = opened_with("req_1", 10, legs=5)
    promises: list[int] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024 + 4096, before[1]))
    try:
        with pytest.raises(JournalFull):
            promises.extend(journal.open(opened) for _ in range(100_000))
        assert promises
        units = tuple((name, 2**40) for name in UNITS)
        big = Usage(2**31, 2**31, 2**31, 2**31, estimated=True, units=units)
        for promise in promises:
            journal.close(Closed(opened, 2**41, 2**31, "client_closed", big, (2**62,) * 5, 2**62), promise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    at, closed = Position(1, 0), 0
    while records := read_on(tmp_path / "life", at):
        closed += sum(isinstance(record, Closed) for record, _ in records)
    assert closed == len(promises)
    journal.end()


def test_segments_follow_each_other_and_a_torn_line_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_SEGMENT_BYTES", 4_000)
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_RESERVE_BYTES", 1_000)
    journal = Journal(tmp_path / "life")
    made = [opened_with(f"req_{i}", 10) for i in range(100)]
    for opened in made:
        journal.close(Closed(opened, 1, 1, "done", Usage(), (0,), 0), journal.open(opened))
    journal.end()
    at = Position(1, 0)
    found = []
    while records := read_on(tmp_path / "life", at):
        found += [record for record, _ in records]
    assert [record for record in found if isinstance(record, Opened)] == made
    assert at.segment > 1
    last = sorted((tmp_path / "life").glob("*.journal"))[-1]
    last.write_bytes(last.read_bytes()[: at.offset - 3])
    at, torn = Position(1, 0), 0
    while records := read_on(tmp_path / "life", at):
        torn += len(records)
    assert torn == len(found) - 1


def test_durable_on_disk_waits_for_a_shared_sync(tmp_path: Path) -> None:
    async def run() -> None:
        journal = Journal(tmp_path / "life", durable_on_disk=True)
        journal.open(opened_with("req_1", 10))
        await asyncio.gather(*[journal.durable() for _ in range(20)])
        journal.end()

    asyncio.run(run())


@given(
    prices=st.tuples(*[st.integers(0, 2 * 10**6)] * 3),
    thought=st.one_of(st.none(), st.integers(0, 2 * 10**6)),
    most=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    parts=st.tuples(*[st.floats(0, 1)] * 4),
)
@example((500_000,) * 3, 500_000, (2, 2), (1, 1, 0.5, 0.5))  # four halves, each rounded up
def test_no_use_costs_more_than_the_worst_case(
    prices: tuple[int, ...], thought: int | None, most: tuple[int, int], parts: tuple[float, ...]
) -> None:
    band = Band(prices[0], min(prices[1], prices[0]), prices[2], thought)
    prompt, completion = round(most[0] * parts[0]), round(most[1] * parts[1])
    usage = Usage(prompt, completion, round(prompt * parts[2]), round(completion * parts[3]))
    assert Terms((band,)).charge(usage) <= Terms((band,)).worst(*most)
