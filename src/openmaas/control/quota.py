"""The pages of Zhipu's console that quota tools and status lines read: how much of a plan is used, what was used by
hour and model, which plan there is.

None of them is documented by Zhipu; the shapes are those that tools in the field were seen to parse. What is known only
by name is left out. Times are in the organisation's time zone. Annotations are evaluated here (no ``from __future__``):
FastAPI must see the local ``Reader``.
"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query

from openmaas.catalog.book import list_models
from openmaas.control.reading import Recognise, reading
from openmaas.control.rooms import Rooms
from openmaas.control.series import Span, across, by_model, span_of, total
from openmaas.core.bounds import PAGE_SIZE, PAGE_SIZE_MAX, SERIES_DAYS_MAX
from openmaas.core.money import NANO, show_amount
from openmaas.identity.face import Caller
from openmaas.ledger.posting.hours import Used, list_used
from openmaas.ledger.selling.payers import find_payer
from openmaas.ledger.selling.plans import Plan
from openmaas.ledger.selling.standing import Counter, plan_standing
from openmaas.ledger.selling.subscribing import list_unended
from openmaas.ledger.spending.plans import Subscription, Window, month_around

_HOUR_S, _WEEK_S = 3_600, 7 * 24 * 3_600
#: How a window's length is said: a unit, and how many of it.
_HOURS, _MONTHS, _WEEKS = 3, 5, 6
#: The tiers that tools know; a plan whose name has none of them is told by its own name.
_LEVELS = ("lite", "pro", "max")
#: What each model used, moment by moment.
Lines = list[tuple[str, list[Used]]]


def routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["quota"])
    database = rooms.database
    summing = asyncio.Lock()  # who asks for a year again and again slows down who does the same, and nobody else

    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    async def zone_of(who: Caller) -> str:
        return (await database.read(find_payer, who.organisation_id)).zone

    async def used(
        who: Caller, start: str, end: str, *, days: int = 1, daily: bool = False
    ) -> tuple[Span, Lines, Lines]:
        """What models used, and the searches apart: here they are a tool."""
        span = span_of(start, end, await zone_of(who), rooms.clock.wall_ms(), days=days, daily=daily)
        since_ms, until_ms = span.bounds_ms
        async with summing:
            rows = await database.read(list_used, who.organisation_id, since_ms=since_ms, until_ms=until_ms)
        searching = {model.name for model in await database.read(list_models) if model.task == "search"}
        parted = [[row for row in rows if (row.model in searching) == tool] for tool in (False, True)]
        return span, by_model(span, parted[0]), by_model(span, parted[1])

    @router.get("/monitor/usage/quota/limit")
    async def limits(who: Reader) -> dict[str, Any]:
        found = await database.read(plan_standing, rooms.clock, who.organisation_id)
        if found is None:
            return told({"level": "", "limits": []})
        plan, counters = found
        windows = zip(plan.terms.windows, counters, strict=True)
        return told({"level": _level(plan.name), "limits": [_limit(window, each) for window, each in windows]})

    @router.get("/monitor/usage/model-usage")
    async def models(
        who: Reader,
        start: Annotated[str, Query(alias="startTime")] = "",
        end: Annotated[str, Query(alias="endTime")] = "",
    ) -> dict[str, Any]:
        span, found, _ = await used(who, start, end)
        return told(_models(span, found))

    @router.get("/monitor/usage/tool-usage")
    async def tools(
        who: Reader,
        start: Annotated[str, Query(alias="startTime")] = "",
        end: Annotated[str, Query(alias="endTime")] = "",
    ) -> dict[str, Any]:
        span, _, searches = await used(who, start, end)
        return told(_tools(span, searches))

    @router.get("/monitor/credit-usage/usage-detail")
    async def detail(
        who: Reader,
        start: Annotated[str, Query(alias="startTime")] = "",
        end: Annotated[str, Query(alias="endTime")] = "",
        kind: Annotated[Literal["MODEL", "MCP"], Query(alias="usageType")] = "MODEL",
    ) -> dict[str, Any]:
        span, found, searches = await used(who, start, end)
        return told(_detail(span, found if kind == "MODEL" else searches, kind))

    @router.get("/monitor/credit-usage/activity")
    async def activity(
        who: Reader,
        start: Annotated[str, Query(alias="startTime")] = "",
        end: Annotated[str, Query(alias="endTime")] = "",
    ) -> dict[str, Any]:
        return told(_activity(*await used(who, start, end, days=SERIES_DAYS_MAX - 1, daily=True)))

    @router.get("/biz/subscription/list")
    async def subscriptions(
        who: Reader,
        number: Annotated[int, Query(alias="pageNum", ge=1, le=1_000)] = 1,
        size: Annotated[int, Query(alias="pageSize", ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE,
    ) -> dict[str, Any]:
        now_ms, zone = rooms.clock.wall_ms(), ZoneInfo(await zone_of(who))
        rows = await database.read(list_unended, who.organisation_id, now_ms, offset=(number - 1) * size, limit=size)
        return told([_subscription(each, plan, now_ms, zone) for each, plan in rows])

    return router


def told(data: Any) -> dict[str, Any]:
    """The envelope of Zhipu's console."""
    return {"code": 200, "msg": "Operation successful", "success": True, "data": data}


def _level(name: str) -> str:
    words = name.lower()
    return next((level for level in _LEVELS if level in words), words)


def _limit(window: Window, counter: Counter) -> dict[str, Any]:
    """``usage`` is what the window allows and ``currentValue`` what is used, as Zhipu has it, in whole credits. An idle
    window has nothing to come back, and so no time."""
    most, used = counter.limit_nanos, counter.used_nanos
    unit, number = _length(window)
    shown = {"type": "TOKENS_LIMIT", "unit": unit, "number": number, "percentage": 100 * used // max(most, 1)}
    shown |= {"usage": most // NANO, "currentValue": used // NANO, "remaining": (most - used) // NANO}
    return shown if counter.again_ms is None else {**shown, "nextResetTime": counter.again_ms}


def _length(window: Window) -> tuple[int, int]:
    if window.kind == "month":
        return _MONTHS, 1
    if window.seconds % _WEEK_S == 0:
        return _WEEKS, window.seconds // _WEEK_S
    return _HOURS, max(round(window.seconds / _HOUR_S), 1)


def _models(span: Span, models: Lines) -> dict[str, Any]:
    every = across(span, models)
    summary = [
        {"modelName": name, "totalTokens": total(row).tokens, "sortOrder": order}
        for order, (name, row) in enumerate(models, 1)
    ]
    rows = [
        {**line, "tokensUsage": [each.tokens for each in row]} for line, (_, row) in zip(summary, models, strict=True)
    ]
    whole = total(every)
    return {
        "x_time": _labels(span),
        "modelCallCount": [each.requests for each in every],
        "tokensUsage": [each.tokens for each in every],
        "totalUsage": {
            "totalModelCallCount": whole.requests,
            "totalTokensUsage": whole.tokens,
            "modelSummaryList": summary,
        },
        "modelDataList": rows,
        "modelSummaryList": summary,
        "granularity": "daily" if span.daily else "hourly",
    }


def _tools(span: Span, searches: Lines) -> dict[str, Any]:
    """Zhipu counts calls over MCP; here they are searches, whichever way they were asked for, and nothing else."""
    labels, none = _labels(span), {f"total{name}Count": 0 for name in ("WebReadMcp", "ZreadMcp")}
    rows = [{"toolName": name, "totalUsageCount": total(row).unit_requests} for name, row in searches]
    every = [each.unit_requests for each in across(span, searches)]
    totals = {"totalNetworkSearchCount": sum(every), **none, "totalSearchMcpCount": sum(every)}
    return {
        "x_time": labels,
        "networkSearchCount": every,
        "webReadMcpCount": [0] * len(labels),
        "zreadMcpCount": [0] * len(labels),
        "totalUsage": {**totals, "toolDetails": [], "toolSummaryList": rows},
        "toolDataList": rows,
        "toolSummaryList": rows,
        "granularity": "daily" if span.daily else "hourly",
    }


def _detail(span: Span, models: Lines, kind: str) -> dict[str, Any]:
    whole = total(across(span, models))
    days = (span.last.date() - span.first.date()).days + 1
    hits = f"{whole.cached_tokens / whole.prompt_tokens:.4f}" if whole.prompt_tokens else None
    summary = {
        "cacheHitRate": {"value": hits},
        "totalCredits": {"value": _credits(whole.credits_nanos)},
        "averageDailyCredits": {"value": _credits(whole.credits_nanos // days)},
    }
    times = _labels(span, "%Y-%m-%d %H:%M:%S")
    shown = {"granularity": "DAY" if span.daily else "HOUR", "timezone": span.zone, "summary": summary}
    if kind == "MCP":
        calls = {"totalMcpCalls": whole.unit_requests, "totalCredits": _credits(whole.credits_nanos)}
        return {**shown, "mcpUsage": {"totalUsage": calls, "xTime": times, "mcpDataList": []}}
    lists = [
        {"modelCode": name, "modelName": name, "sortOrder": order, **_sums(total(row))}
        for order, (name, row) in enumerate(models, 1)
    ]
    rows = [{**line, **_columns(row)} for line, (_, row) in zip(lists, models, strict=True)]
    usage = {"totalUsage": _sums(whole), "xTime": times, "modelDataList": rows, "modelSummaryList": lists}
    return {**shown, "modelUsage": usage}


def _sums(used: Used) -> dict[str, Any]:
    return {"totalTokens": used.tokens, "totalCredits": _credits(used.credits_nanos)}


def _columns(row: list[Used]) -> dict[str, list[Any]]:
    return {
        "uncachedInputTokensUsage": [each.prompt_tokens - each.cached_tokens for each in row],
        "cachedInputTokensUsage": [each.cached_tokens for each in row],
        "inputTokensUsage": [each.prompt_tokens for each in row],
        "outputTokensUsage": [each.completion_tokens for each in row],
        "totalTokensUsage": [each.tokens for each in row],
        "totalCreditsUsage": [_credits(each.credits_nanos) for each in row],
    }


def _activity(span: Span, models: Lines, searches: Lines) -> dict[str, Any]:
    every, dates = across(span, models), _labels(span)
    now, longest = _streaks([each.requests > 0 for each in every])
    peak = max(range(len(every)), key=lambda number: every[number].tokens)
    summary = {
        "totalTokens": total(every).tokens,
        "peakDailyTokens": every[peak].tokens,
        "peakDailyTokensDate": dates[peak] if every[peak].tokens else None,
        "currentStreakDays": now,
        "longestStreakDays": longest,
    }
    series = [
        {"date": date, "modelCallCount": each.requests, "mcpCalls": found.unit_requests, **_sums(each)}
        for date, each, found in zip(dates, every, across(span, searches), strict=True)
    ]
    return {"granularity": "DAY", "timezone": span.zone, "summary": summary, "series": series}


def _streaks(active: list[bool]) -> tuple[int, int]:
    """How many days in a row there was use up to the end, and how many there ever were."""
    now = longest = 0
    for each in active:
        now = now + 1 if each else 0
        longest = max(longest, now)
    return now, longest


def _subscription(who: Subscription, plan: Plan, now_ms: int, zone: ZoneInfo) -> dict[str, Any]:
    """A subscription that has not ended, and is valid therefore."""
    since_ms, _ = month_around(who.started_ms, max(now_ms, who.started_ms))
    since, until = (_local(ms, zone) for ms in (since_ms, who.until_ms))
    price = float(show_amount(plan.terms.price_nanos))
    return {
        "id": who.id,
        "customerId": who.organisation_id,
        "productName": plan.name,
        "description": plan.name,
        "status": "VALID",
        "purchaseTime": f"{_local(who.started_ms, zone):%Y-%m-%d %H:%M:%S}",
        "valid": f"{since:%Y-%m-%d %H:%M:%S}-{until:%Y-%m-%d %H:%M:%S}",
        "autoRenew": int(who.renews),
        "actualPrice": price,
        "renewPrice": price,
        "currentRenewTime": f"{since:%Y-%m-%d}",
        "nextRenewTime": f"{until:%Y-%m-%d}",
        "billingCycle": "monthly",
        "inCurrentPeriod": who.started_ms <= now_ms,
    }


def _labels(span: Span, hourly: str = "%Y-%m-%d %H:%M") -> list[str]:
    form = "%Y-%m-%d" if span.daily else hourly
    return [moment.strftime(form) for moment in span.moments()]


def _credits(nanos: int) -> str:
    """With four decimals, as Zhipu writes them; what is less is rounded half up."""
    whole, part = divmod(nanos + 50_000, NANO)
    return f"{whole}.{part // 100_000:04d}"


def _local(ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
