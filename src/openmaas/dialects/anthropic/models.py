"""What can be asked for, as Anthropic lists models: the newest first, in pages.

https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from openmaas.core.bounds import LISTED_MODELS_MAX, PAGE_SIZE
from openmaas.core.clock import iso_utc
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.dialect import Offer


def listed(offers: list[Offer], query: str) -> bytes:
    """A page; ``after_id`` and ``before_id`` are not part of it. Raises ``FieldInvalid``."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    rows = sorted(offers, key=lambda offer: (-offer.created_ms, offer.name))
    limit = _limit(asked.get("limit", str(PAGE_SIZE)))
    if "before_id" in asked:
        before = rows[: _place(rows, asked["before_id"], "before_id")]
        page, more = before[-limit:], len(before) > limit
    else:
        begins = _place(rows, asked["after_id"], "after_id") + 1 if "after_id" in asked else 0
        page, more = rows[begins : begins + limit], len(rows) > begins + limit
    data = [_shown(offer) for offer in page]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return msgspec.json.encode({"data": data, "has_more": more, **ends})


def described(offer: Offer) -> bytes:
    """One model."""
    return msgspec.json.encode(_shown(offer))


def _shown(offer: Offer) -> dict[str, Any]:
    return {
        "type": "model",
        "id": offer.name,
        "display_name": offer.name,
        "created_at": iso_utc(offer.created_ms),
        "max_input_tokens": offer.context_tokens,
        "max_tokens": offer.context_tokens,
        "capabilities": None,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
    }


def _limit(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(LISTED_MODELS_MAX)) or not 1 <= int(text) <= LISTED_MODELS_MAX:
        raise FieldInvalid(f"limit: it must be between 1 and {LISTED_MODELS_MAX}", field="limit")
    return int(text)


def _place(rows: list[Offer], name: str, field: str) -> int:
    for at, offer in enumerate(rows):
        if offer.name == name:
            return at
    raise FieldInvalid(f"{field}: there is no model {name!r}", field=field)
