"""What is left, in the shapes that chat clients and balance widgets ask for: those of Zhipu and of OpenAI as it was.

Amounts are JSON numbers in the currency of the wallet, whatever a field is called: they are to be shown, not to be
counted with; ``GET /v1/balance`` has them exactly. OpenAI documents its part no more, but many servers have it.
Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Reader``.

https://github.com/songquanpeng/one-api/blob/main/controller/billing.go
"""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from openmaas.control.quota import told
from openmaas.control.reading import Recognise, reading
from openmaas.control.rooms import Rooms
from openmaas.control.usage import parse_day
from openmaas.core.bounds import BILLING_DAYS_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import show_amount
from openmaas.identity.face import Caller
from openmaas.ledger.posting.receipts import list_usage
from openmaas.ledger.selling.payers import find_payer
from openmaas.ledger.selling.standing import Wallet, wallet_standing

#: Of a day, without an end on the other side.
_FIRST, _LAST = "0001-01-01", "9999-12-31"


def zhipu_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """Zhipu's routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["balance"])

    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    @router.get("/paas/v4/balance")
    async def balance(who: Reader) -> dict[str, Any]:
        wallet = await _wallet(rooms, who)
        amounts = {"total_balance": _number(wallet.posted_nanos), "available_balance": _number(wallet.available_nanos)}
        return told({"currency": wallet.currency, **amounts})

    @router.get("/biz/account/query-customer-account-report")
    async def report(who: Reader) -> dict[str, Any]:
        wallet = await _wallet(rooms, who)
        amounts = {
            "balance": wallet.posted_nanos,
            "availableBalance": wallet.available_nanos,
            "frozenBalance": wallet.pending_nanos,
            "rechargeAmount": wallet.topped_up_nanos,
            "giveAmount": wallet.given_nanos,
            "totalSpendAmount": sum((await _spent(rooms, who, wallet.currency)).values()),
        }
        return told({name: _number(nanos) for name, nanos in amounts.items()})

    return router


def openai_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """OpenAI's routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["balance"])

    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    @router.get("/dashboard/billing/subscription")
    async def subscription(who: Reader) -> dict[str, Any]:
        wallet, today = await _wallet(rooms, who), _today(rooms)
        spent = await _spent(rooms, who, wallet.currency, today.replace(day=1).isoformat())
        most = _number(wallet.available_nanos + sum(spent.values()))
        limits = {f"{kind}_limit_usd": most for kind in ("soft", "hard", "system_hard")}
        return {"object": "billing_subscription", "has_payment_method": True, **limits}

    @router.get("/dashboard/billing/usage")
    async def usage(who: Reader, start_date: str = "", end_date: str = "") -> dict[str, Any]:
        wallet = await _wallet(rooms, who)
        since, until = _days(start_date, end_date, _today(rooms))
        spent = await _spent(rooms, who, wallet.currency, since, until)
        costs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for (day, model), nanos in spent.items():
            costs[day].append({"name": model, "cost": _number(100 * nanos)})
        daily = [{"timestamp": _seconds(day), "line_items": items} for day, items in sorted(costs.items())]
        return {"object": "list", "total_usage": _number(100 * sum(spent.values())), "daily_costs": daily}

    @router.get("/dashboard/billing/credit_grants")
    async def grants(who: Reader) -> dict[str, Any]:
        wallet = await _wallet(rooms, who)
        used = sum((await _spent(rooms, who, wallet.currency)).values())
        amounts = {"granted": wallet.available_nanos + used, "used": used, "available": wallet.available_nanos}
        return {"object": "credit_summary", **{f"total_{name}": _number(nanos) for name, nanos in amounts.items()}}

    return router


async def _wallet(rooms: Rooms, who: Caller) -> Wallet:
    payer = await rooms.database.read(find_payer, who.organisation_id)
    return await rooms.database.read(wallet_standing, who.organisation_id, payer.currency or rooms.currency)


async def _spent(
    rooms: Rooms, who: Caller, currency: str, since: str = _FIRST, until: str = _LAST
) -> dict[tuple[str, str], int]:
    """What requests cost (nanos), by day (UTC) and model."""
    days = {"since_day": since, "until_day": until}
    by = ["day", "model"]
    rows = await rooms.database.read(
        list_usage, by=by, organisation_id=who.organisation_id, **days, offset=0, limit=None
    )
    return {(row["day"], row["model"]): row["amount_nanos"] for row in rows if row["currency"] == currency}


def _days(start: str, end: str, today: date) -> tuple[str, str]:
    """The first and the last day; ``end_date`` is the day after, as OpenAI has it, and at least the first one counts.
    Raises ``FieldInvalid``."""
    first = date.fromisoformat(parse_day(start, "start_date")) if start else today.replace(day=1)
    after = date.fromisoformat(parse_day(end, "end_date")) if end else today + timedelta(days=1)
    if not 0 <= (after - first).days <= BILLING_DAYS_MAX:
        said = f"end_date must be 0 to {BILLING_DAYS_MAX} days after start_date"
        raise FieldInvalid(said, field="end_date")
    last = first if after == first else after - timedelta(days=1)
    return first.isoformat(), last.isoformat()


def _today(rooms: Rooms) -> date:
    return datetime.fromtimestamp(rooms.clock.wall_ms() / 1000, UTC).date()


def _seconds(day: str) -> int:
    return round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def _number(nanos: int) -> float:
    return float(show_amount(nanos))
