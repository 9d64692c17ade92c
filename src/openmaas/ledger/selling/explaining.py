"""Why a request counted what it counted against a plan, in one sentence for its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from openmaas.core.money import WHOLE
from openmaas.ledger.book import Account
from openmaas.ledger.prices import find_price
from openmaas.ledger.selling.standing import begun
from openmaas.ledger.spending.funds import funding


def explain(tx: sa.Connection, receipt: Mapping[str, Any]) -> str | None:
    """Such as ``412,000 input, 96 % cached, 800 output, ×3 peak: 3.1 % of the 5h window, free again at 16:40 (UTC)``.

    None for a request that no plan counted.
    """
    lines = [line for line in receipt["charges"] if line["account_id"].startswith("window:")]
    if not lines:
        return None
    price = find_price(tx, lines[0]["price_version"])
    factor = price.terms.factor(receipt["opened_ms"], batch=receipt["batch"])
    return f"{_use(receipt, factor)}: {'; '.join(_window(tx, receipt, line) for line in lines)}"


def _use(receipt: Mapping[str, Any], factor: int) -> str:
    prompt, cached = receipt["prompt_tokens"], receipt["cached_tokens"]
    said = [f"{prompt:,} input"]
    if cached:
        said.append(f"{100 * cached / prompt:.0f} % cached")
    said.append(f"{receipt['completion_tokens']:,} output")
    said += [f"{count:,} {unit}" for unit, count in receipt["units"] or ()]
    if factor != WHOLE:
        said.append(f"×{factor / WHOLE:g} {'peak' if factor > WHOLE else 'off-peak'}")
    return ", ".join(said)


def _window(tx: sa.Connection, receipt: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    found = begun(tx, line["account_id"])
    assert found is not None, "what was charged is there"
    (account, limit), name = found, line["account_id"].split("/")[1].partition(":")[0]
    said = f"{percent(line['amount_nanos'], limit)} of the {name} window"
    again_ms, zone = _again_ms(tx, receipt, account)
    if again_ms is None or not line["amount_nanos"]:
        return said
    again, opened = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone) for ms in (again_ms, receipt["opened_ms"]))
    shown = f"{again:%H:%M}" if again.date() == opened.date() else f"{again:%Y-%m-%d %H:%M}"
    return f"{said}, free again at {shown} ({zone.key})"


def percent(part: int, whole: int) -> str:
    """With one decimal, which is left out when it is 0; less than that is said so."""
    tenths = (2_000 * part + whole) // (2 * whole) if whole else 0
    if part and not tenths:
        return "< 0.1 %"
    return f"{tenths // 10}.{tenths % 10} %".replace(".0 %", " %")


def _again_ms(tx: sa.Connection, receipt: Mapping[str, Any], account: Account) -> tuple[int | None, ZoneInfo]:
    found = funding(tx, receipt["organisation_id"], receipt["opened_ms"])
    zone = ZoneInfo(found.zone)
    if account.returns_after_ms is not None:
        return receipt["posted_ms"] + account.returns_after_ms, zone
    windows = (
        bound
        for subscription, terms in found.subscriptions
        for bound in subscription.bounds(terms, receipt["opened_ms"])
    )
    return next((bound.ends_ms for bound in windows if bound.account_id == account.id), None), zone
