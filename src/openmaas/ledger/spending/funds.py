"""Where an organisation's requests are paid from, and in which order: the plan, resource packs, the wallet.

Remembered by organisation until the change sequence says that it changed, so the common case touches no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import FUNDS_CACHED_MAX, QUARTER_MS, RENEW_GRACE_S
from openmaas.core.clock import Clock
from openmaas.core.errors import ModelUnknown, PlanMissing
from openmaas.core.money import CREDITS
from openmaas.core.usage import Units
from openmaas.ledger.book import wallet_id
from openmaas.ledger.law_sold import budgets, packs, payers, plans, subscriptions
from openmaas.ledger.prices import Price, PriceBook
from openmaas.ledger.spending.holds import Bound, Fill, Source
from openmaas.ledger.spending.plans import PlanTerms, Subscription, add_months, decode_terms
from openmaas.store.changes import EVERYTHING, Follower
from openmaas.store.database import Database

T = TypeVar("T", bound=msgspec.Struct)
#: The entrance of the base URL that is for subscribers only; on the others who has no plan pays as they go.
PLAN_ONLY = "coding"


class Use(msgspec.Struct, frozen=True):
    """The most that one request can use, and where it came in."""

    model: str
    entrance: str
    organisation_id: str
    project_id: str
    key_id: str
    prompt_tokens: int
    completion_tokens: int
    opened_ms: int
    batch: bool = False
    units: Units = ()


class Pack(msgspec.Struct, frozen=True):
    """A resource pack, of a currency's amount or of tokens. ``models`` is None when it is for every model."""

    account_id: str
    name: str
    models: tuple[str, ...] | None
    from_ms: int
    until_ms: int


class Budget(msgspec.Struct, frozen=True):
    """The most that an organisation, project or key may spend of a wallet in a period."""

    id: str
    scope: str
    subject_id: str
    currency: str
    amount_nanos: int
    period: str

    def bound(self, organisation_id: str, zone: str, now_ms: int) -> Bound:
        """The account that counts the period that runs."""
        begin_ms, end_ms = period_around(self.period, zone, now_ms // QUARTER_MS)
        account_id = f"budget:{organisation_id}:{self.id}/{begin_ms}:{self.currency}"
        return Bound(account_id, Fill(self.amount_nanos), end_ms)


class Funding(msgspec.Struct, frozen=True):
    """How one organisation pays. ``packs`` are in the order in which they expire."""

    organisation_id: str
    currency: str
    zone: str
    subscriptions: tuple[tuple[Subscription, PlanTerms], ...] = ()
    packs: tuple[Pack, ...] = ()
    budgets: tuple[Budget, ...] = ()

    def sources(self, use: Use, prices: PriceBook) -> list[Source]:
        """What to ask, in order. Raises ``ModelUnknown`` without a price, ``PlanMissing`` where a plan is needed."""
        found: list[Source] = []
        subscription, terms = self._plan(use) or (None, None)
        if subscription is not None and terms is not None:
            price = self._price(use, CREDITS, prices) if _covers(subscription, terms, use) else None
            if price is not None:
                # Never nothing, though the model is free there: the first lease is what makes the windows.
                found.append(_source(subscription.bounds(terms, use.opened_ms), price, use, least_nanos=1))
        plan_only = subscription is not None and not subscription.overflows
        if not found and (plan_only or use.entrance == PLAN_ONLY):
            raise PlanMissing(f"no plan of this organisation covers {use.model!r} here")
        if plan_only:
            return found
        for pack in self.packs:
            if pack.from_ms <= use.opened_ms < pack.until_ms and (pack.models is None or use.model in pack.models):
                price = self._price(use, pack.account_id.rpartition(":")[2], prices)
                if price is not None:  # a pack for every model covers those that have a price in it
                    found.append(_source((Bound(pack.account_id),), price, use))
        found.append(self.wallet(use, prices))
        return found

    def seats(self, use: Use) -> int | None:
        """How many requests of this model may be in flight by the plan; None when it does not say."""
        plan = self._plan(use) if self.subscriptions else None
        return plan[1].seats if plan is not None and _covers(*plan, use) else None

    def _plan(self, use: Use) -> tuple[Subscription, PlanTerms] | None:
        """The plan whose base URL ``use`` came in on: it runs, or it has ended and may still be renewed."""
        for subscription, terms in reversed(self.subscriptions):
            until_ms = subscription.until_ms + RENEW_GRACE_S * 1000 * subscription.renews
            if subscription.started_ms <= use.opened_ms < until_ms and use.entrance in terms.entrances:
                return subscription, terms
        return None

    def wallet(self, use: Use, prices: PriceBook) -> Source:
        """Money, and the budgets that count along. Raises ``ModelUnknown`` without a price."""
        price = self._price(use, self.currency, prices)
        if price is None:
            said = f"{use.model!r} has no price in {self.currency} yet; `openmaas models price` sets one"
            raise ModelUnknown(said, field="model")
        source = _source(wallet_bounds(self.organisation_id, price.currency), price, use)
        if self.budgets and source.worst_nanos:  # of what is free there is nothing to count along
            bounds = source.bounds + self._budgets(use, price.currency)
            return msgspec.structs.replace(source, bounds=bounds)
        return source

    def _price(self, use: Use, currency: str, prices: PriceBook) -> Price | None:
        return prices.at(use.model, use.opened_ms, currency, self.organisation_id)

    def _budgets(self, use: Use, currency: str) -> tuple[Bound, ...]:
        subjects = {"organisation": self.organisation_id, "project": use.project_id, "key": use.key_id}
        return tuple(
            budget.bound(self.organisation_id, self.zone, use.opened_ms)
            for budget in self.budgets
            if budget.subject_id == subjects[budget.scope] and budget.currency == currency
        )


class Funds:
    """The fundings that this process remembers. ``currency`` is that of organisations that were given none."""

    def __init__(self, database: Database, follower: Follower, clock: Clock, currency: str) -> None:
        self._database = database
        self._clock = clock
        self._currency = currency
        self._known: dict[str, Funding] = {}
        self._forgotten = 0  # counts forgets, so that a read begun before one is not remembered after it
        follower.on("funds", self._forget)

    async def of(self, organisation_id: str) -> Funding:
        """How this organisation pays."""
        found = self._known.get(organisation_id)
        if found is None:
            forgotten = self._forgotten
            found = await self._database.read(funding, organisation_id, self._clock.wall_ms(), self._currency)
            if forgotten == self._forgotten:
                if len(self._known) >= FUNDS_CACHED_MAX:
                    self._known.pop(next(iter(self._known)))
                self._known[organisation_id] = found
        return found

    def _forget(self, organisation_id: str) -> None:
        self._forgotten += 1
        if organisation_id == EVERYTHING:
            self._known.clear()
        self._known.pop(organisation_id, None)


def funding(tx: sa.Connection, organisation_id: str, at_ms: int, currency: str = "") -> Funding:
    """How an organisation pays, as the tables say: all that had not ended at ``at_ms``, and subscriptions that may yet
    be renewed. What ended before is never read on the path of a request, however long its history. Who asks for
    ``sources`` must say the house's currency."""

    def rows(
        table: sa.Table, *order: sa.Column[Any], until: sa.ColumnElement[int] | None = None
    ) -> Sequence[sa.RowMapping]:
        query = sa.select(table).where(table.c.organisation_id == organisation_id).order_by(*order)
        query = query if until is None else query.where(until > at_ms)
        return tx.execute(query).mappings().all()

    payer = next(iter(rows(payers)), None)
    had = rows(subscriptions, subscriptions.c.started_ms, until=subscriptions.c.until_ms + RENEW_GRACE_S * 1000)
    ours = plans.c.id.in_({row["plan_id"] for row in had})
    terms = {row.id: decode_terms(row.terms) for row in tx.execute(sa.select(plans.c.id, plans.c.terms).where(ours))}
    return Funding(
        organisation_id,
        payer["currency"] if payer else currency,
        payer["zone"] if payer else "UTC",
        tuple((_read(row, Subscription), terms[row["plan_id"]]) for row in had),
        tuple(_read(row, Pack) for row in rows(packs, packs.c.until_ms, packs.c.account_id, until=packs.c.until_ms)),
        tuple(
            _read(row, Budget) for row in rows(budgets, budgets.c.created_ms, budgets.c.id) if row["ended_ms"] is None
        ),
    )


def _read(row: sa.RowMapping, kind: type[T]) -> T:
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)


def _source(bounds: tuple[Bound, ...], price: Price, use: Use, *, least_nanos: int = 0) -> Source:
    worst = price.worst(use.prompt_tokens, use.completion_tokens, use.opened_ms, batch=use.batch, units=use.units)
    return Source(bounds, price.currency, price.version, max(worst, least_nanos))


@lru_cache(maxsize=FUNDS_CACHED_MAX)
def wallet_bounds(organisation_id: str, currency: str) -> tuple[Bound, ...]:
    """The wallet as a source's bounds; remembered, because nearly every request asks for them."""
    return (Bound(wallet_id(organisation_id, currency)),)


def _covers(subscription: Subscription, terms: PlanTerms, use: Use) -> bool:
    return use.opened_ms < subscription.until_ms and (terms.models is None or use.model in terms.models)


@lru_cache(maxsize=4_096)
def period_around(period: str, zone: str, quarter: int) -> tuple[int, int | None]:
    """Begin and end (UTC ms) of the day, week or month in ``zone`` that a quarter of an hour since 1970 lies in."""
    if period == "total":
        return 0, None
    local = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, ZoneInfo(zone))
    begin = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)  # the first of two midnights
    if period == "day":
        end = begin + timedelta(days=1)
    elif period == "week":
        begin -= timedelta(days=begin.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = begin.replace(day=1)
        end = add_months(begin, 1)
    return round(begin.timestamp() * 1000), round(end.timestamp() * 1000)
