"""What the API takes about webhooks, checked by its shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openmaas.control.shapes import Shape
from openmaas.control.shapes_funds import OneLine
from openmaas.core.bounds import TEXT_BYTES_MAX
from openmaas.store.outbox import EVENTS

Url = Annotated[str, Field(max_length=1_000, pattern="^https?://.+", description="https, where no more is allowed")]
Types = Annotated[
    list[Annotated[str, Field(max_length=TEXT_BYTES_MAX)]] | None,
    Field(max_length=len(EVENTS), description=f"Everything when absent; among {', '.join(EVENTS)}"),
]


class NewWebhook(Shape):
    """Where to listen."""

    url: Url
    types: Types = None
    description: OneLine = ""


class ChangedWebhook(Shape):
    """What shall be different; null is not, but for ``types``: everything."""

    url: Url | None = None
    types: Types = None
    description: OneLine | None = None
    enabled: bool | None = None


class Replay(Shape):
    """What to deliver again."""

    delivery_id: str | None = Field(default=None, max_length=TEXT_BYTES_MAX, description="This one")
    since: str | None = Field(default=None, description="RFC 3339; all that failed since then, when no one is named")
