"""Usage by quarter of an hour and model: what graphs are made of.

Every zone's offset is a multiple of a quarter, so whoever knows a zone can add these up to its hours and its days. Only
posted requests are counted; the poster is behind by less than a second.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import QUARTER_MS
from openmaas.ledger.law import charges, corrections, receipts


class Used(msgspec.Struct, frozen=True):
    """What was used of one model from ``begin_ms`` on. ``credits_nanos`` is what the first window of a plan counted,
    as it stands after corrections: the windows of one plan all count the same. ``unit_requests`` are those of the
    requests that used something other than tokens: of a model that searches, its searches."""

    begin_ms: int
    model: str
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    credits_nanos: int = 0
    unit_requests: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


#: What can be added up.
COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "credits_nanos", "unit_requests")


def list_used(tx: sa.Connection, organisation_id: str, *, since_ms: int, until_ms: int) -> list[Used]:
    """What an organisation used of what was opened from ``since_ms`` until before ``until_ms``, oldest first."""
    quarter = (receipts.c.opened_ms // sa.literal_column(str(QUARTER_MS))).label("quarter")
    ours = (receipts.c.organisation_id == organisation_id) & receipts.c.opened_ms.between(since_ms, until_ms - 1)
    found: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)

    def read(query: sa.Select[Any]) -> None:
        for row in tx.execute(query.where(ours).group_by(quarter, receipts.c.model)).mappings():
            sums = found[row["quarter"], row["model"]]
            for name in COUNTS:
                sums[name] = sums.get(name, 0) + int(row.get(name, 0))

    def summed(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        return sa.select(quarter, receipts.c.model, *columns)

    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens")
    requests = sa.func.count().label("requests"), sa.func.count(receipts.c.units).label("unit_requests")
    read(summed(*requests, *(sa.func.sum(receipts.c[name]).label(name) for name in tokens)))
    counted = receipts.join(charges, charges.c.request_id == receipts.c.request_id)
    first = (charges.c.part == 0) & charges.c.account_id.startswith("window:")
    read(summed(sa.func.sum(charges.c.amount_nanos).label("credits_nanos")).select_from(counted).where(first))
    same = (corrections.c.request_id == charges.c.request_id) & (corrections.c.account_id == charges.c.account_id)
    given_back = sa.func.sum(-corrections.c.change_nanos).label("credits_nanos")
    read(summed(given_back).select_from(counted.join(corrections, same)).where(first))
    return [Used(at * QUARTER_MS, model, **sums) for (at, model), sums in sorted(found.items())]
