"""What the API takes about money that goes back, vouchers and orders, checked by its shape."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openmaas.control.shapes import SECRET, Amount, Currency, Name, Shape, Text
from openmaas.core.bounds import TEXT_BYTES_MAX, VOUCHERS_MAX

#: The channel of what a person sees on a statement, and says so.
BANK = "bank"


class NewRefund(Shape):
    """Money to pay out of a wallet."""

    amount: Amount
    currency: Currency | None = None
    request_key: Name = Field(description="Your own id of the refund: the same one twice is begun once")
    memo: Text = Field(default="", max_length=500)


class NewCreditNote(Shape):
    """What was charged, and is given back."""

    amount: Amount
    currency: Currency | None = None
    request_key: Name = Field(description="Your own id of the note: the same one twice is booked once")
    memo: Text = Field(default="", max_length=500)


class NewBatch(Shape):
    """Vouchers to issue."""

    amount: Amount = Field(description="Of each")
    currency: Currency | None = None
    count: int = Field(default=1, gt=0, le=VOUCHERS_MAX)
    expires_at: str = Field(description="RFC 3339")
    request_key: Name = Field(description="Your own id of the batch: the same one twice is issued once")
    memo: Text = Field(default="", max_length=500)


class Redeemed(Shape):
    """A voucher to redeem."""

    code: str = Field(max_length=TEXT_BYTES_MAX, examples=["7Z0CK-4M9XT-1QHPA-V3E8R"], json_schema_extra=SECRET)


class NewOrder(Shape):
    """A top-up to be paid."""

    amount: Amount
    currency: Currency | None = None
    channel: Literal["stripe", "bank"] = "stripe"
    request_key: Name = Field(description="Your own id of the order: the same one twice is one order")


class NewOrderFor(NewOrder):
    """A top-up to be paid by this organisation."""

    organisation_id: Name


class NewPayment(Shape):
    """What came in for an order with the channel bank."""

    payment_id: Name = Field(description="The bank's id: one payment pays one order, once")
    amount: Amount
    currency: Currency | None = None
