"""How a request stands in the tables: one receipt, and a charge for each account that paid or counted along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from openmaas.core.usage import Usage
from openmaas.ledger.law import charges
from openmaas.ledger.legs import Leg
from openmaas.ledger.writing.records import Closed

Row = dict[str, Any]


def receipt_row(record: Closed, journal_id: str, balance_nanos: int, posted_ms: int) -> Row:
    """The row of ``receipts`` for a closed request."""
    opened, usage, last = record.opened, record.usage, record.opened.legs[-1]
    return {
        "request_id": opened.request_id,
        "journal_id": journal_id,
        "organisation_id": opened.organisation_id,
        "project_id": opened.project_id,
        "key_id": opened.key_id,
        "model": opened.model,
        "deployment_id": opened.deployment_id,
        "opened_ms": opened.opened_ms,
        "closed_ms": record.closed_ms,
        "first_byte_ms": record.first_byte_ms,
        "outcome": record.outcome,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "units": [list(unit) for unit in usage.units] or None,
        "estimated": usage.estimated,
        "delivered_tokens": record.delivered_tokens,
        "batch": opened.batch,
        "job_id": opened.job_id or None,
        "price_version": last.price_version,
        "currency": last.currency,
        "hold_nanos": last.hold_nanos,
        "amount_nanos": record.paid_nanos[-1],
        "excess_nanos": record.excess_nanos,
        "balance_nanos": balance_nanos,
        "posted_ms": posted_ms,
    }


def charge_rows(record: Closed) -> list[Row]:
    """The rows of ``charges`` for a closed request; balance and transfer are known when it is posted."""
    opened = record.opened
    return [
        {
            "request_id": opened.request_id,
            "account_id": account_id,
            "leg": number,
            "part": part,
            "price_version": leg.price_version,
            "hold_nanos": leg.hold_nanos,
            "amount_nanos": paid,
            "balance_nanos": 0,
            "transfer_id": None,
        }
        for number, (leg, paid) in enumerate(zip(opened.legs, record.paid_nanos, strict=True))
        for part, account_id in enumerate(leg.accounts)
    ]


def usage_of(receipt: Any) -> Usage:
    """What a row of ``receipts`` says was used."""
    return Usage(
        receipt.prompt_tokens,
        receipt.completion_tokens,
        receipt.cached_tokens,
        receipt.reasoning_tokens,
        receipt.estimated,
        tuple((name, count) for name, count in receipt.units or ()),
    )


def legs_of(rows: Iterable[Any]) -> dict[str, list[Leg]]:
    """The legs of each request, from its rows of ``charges``."""
    parts: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        parts[row.request_id][row.leg].append(row)
    return {request_id: [_leg(legs[number]) for number in sorted(legs)] for request_id, legs in parts.items()}


def charges_of(request_ids: list[str]) -> sa.Select[Any]:
    """The query for the charges of these requests."""
    return sa.select(charges).where(charges.c.request_id.in_(request_ids))


def _leg(rows: list[Any]) -> Leg:
    rows.sort(key=lambda row: row.part)
    first = rows[0]
    currency = first.account_id.rpartition(":")[2]
    return Leg(tuple(row.account_id for row in rows), currency, first.price_version, first.hold_nanos)
