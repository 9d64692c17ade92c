"""What the management API takes about packs, budgets, credit lines and plans, checked by its shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from openmaas.control.shapes import Amount, Currency, ModelName, Name, Shape, Text
from openmaas.core.bounds import BANDS_MAX, KEY_MODELS_MAX, TAXES_MAX, TEXT_BYTES_MAX
from openmaas.ledger.spending.plans import ENTRANCES, Way

Models = Annotated[list[ModelName] | None, Field(max_length=KEY_MODELS_MAX, description="All when absent")]


#: Without what a line cannot show.
OneLine = Annotated[str, Field(max_length=TEXT_BYTES_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]


class NewTax(Shape):
    """A tax that an invoice shows."""

    name: Name
    rate: str = Field(
        description="As a fraction of the net amount", examples=["0.06"], pattern=r"^0(\.[0-9]{1,6})?$|^1$"
    )


class NewInvoices(Shape):
    """A month whose invoices are to be issued."""

    period: str = Field(examples=["2026-11"], max_length=7, description="In the organisation's time zone")


class NewPayer(Shape):
    """How an organisation pays, and what its invoices say. All of it at once: what is absent is as by default."""

    currency: Currency
    zone: Text = Field(default="UTC", max_length=TEXT_BYTES_MAX, examples=["Asia/Shanghai"])
    legal_name: OneLine = Field(default="", description="On invoices; the name when absent")
    address: str = Field(
        default="",
        max_length=500,
        pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$",
        description="On invoices; lines are parted by a line break",
    )
    tax_id: OneLine = ""
    taxes: list[NewTax] = Field(default=[], max_length=TAXES_MAX)
    tax_inclusive: bool = Field(default=True, description="Prices hold the taxes; else they come on top")
    language: Literal["zh", "en", ""] = Field(default="", description="That of the currency when absent")
    alert: Amount | None = Field(default=None, description="A wallet that falls below it is told of by webhook")


class NewCredit(Shape):
    """How far a wallet may go below 0."""

    credit: Amount
    currency: Currency | None = None


class NewPack(Shape):
    """A resource pack to give, or to sell from the wallet."""

    name: Name
    amount: Amount
    currency: Annotated[str, Field(pattern="^([A-Z]{3}|tokens)$")] = "tokens"
    models: Models = None
    from_time: str | None = Field(default=None, description="RFC 3339; now when absent")
    until_time: str = Field(description="RFC 3339")
    price: Amount = Field(default="0", description="Taken from the wallet")
    price_currency: Currency | None = None
    request_key: Name = Field(description="Your own id of the sale: the same one twice is one pack")


class NewBudget(Shape):
    """The most that may be spent of a wallet in a period."""

    scope: Literal["organisation", "project", "key"]
    subject_id: Text = Field(default="", max_length=TEXT_BYTES_MAX, description="Of the project or key")
    amount: Amount
    currency: Currency | None = None
    period: Literal["day", "week", "month", "total"] = "month"


class NewAmount(Shape):
    """Another amount."""

    amount: Amount


class NewWindow(Shape):
    """One limit of a plan, in credits."""

    name: Annotated[str, Field(pattern="^[a-z0-9]{1,20}$", examples=["5h"])]
    kind: Literal["rolling", "cycle", "month"]
    credits: Amount
    hours: int = Field(default=0, ge=0, le=24 * 366, description="Length of a rolling window or a cycle")


class NewPlan(Shape):
    """A plan to offer."""

    name: Name
    windows: list[NewWindow] = Field(min_length=1, max_length=BANDS_MAX)
    price: Amount = Field(default="0", description="Of one month")
    currency: Currency | None = None
    models: Models = None
    entrances: list[Way] = Field(default=list(ENTRANCES), min_length=1, max_length=4)
    seats: int | None = Field(default=None, gt=0, le=65_536, description="Requests in flight for each model")


class NewSubscription(Shape):
    """A subscription to begin; its first month is taken from the wallet."""

    plan_id: Name
    renews: bool = True
    overflows: bool = Field(
        default=False, description="Go on with packs and cash where the plan ends or does not reach"
    )
    request_key: Name = Field(description="Your own id of the order: the same one twice is one subscription")


class ChangedSubscription(Shape):
    """What shall be different."""

    plan_id: Name | None = Field(default=None, description="Dearer: at once; cheaper: with the next month")
    renews: bool | None = None
    overflows: bool | None = None
