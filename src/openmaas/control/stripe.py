"""Stripe's side of a payment: whether bytes are really from Stripe, and what they say. Nothing here books or asks.

Signatures: https://docs.stripe.com/webhooks/signature. Amounts are in minor units, of which a currency has 100, 1 or
1,000: https://docs.stripe.com/currencies.
"""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

from openmaas.core.bounds import STRIPE_TOLERANCE_S
from openmaas.core.errors import BodyInvalid, FieldInvalid, SignatureInvalid
from openmaas.core.money import NANO
from openmaas.ledger.selling.orders import Payment

CHANNEL = "stripe"
_SECONDS = re.compile("[0-9]{1,12}")
#: A checkout that was paid at once, and one by a method that takes days.
_PAID = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
_WHOLE = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THOUSANDTHS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
#: Whether Stripe counts it whole or in hundredths could not be made sure: it is refused, not guessed.
_UNCLEAR = frozenset({"UGX"})


class _Session(msgspec.Struct, frozen=True):
    id: str
    payment_status: str
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    payment_intent: str | None = None


class _Of(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    type: str
    data: _Of


def check_signature(header: str, body: bytes, secret: str, now_s: float) -> None:
    """Raises ``SignatureInvalid`` unless ``header`` (``t=…,v1=…``, at times several) signs ``body``, not long ago."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value.encode() for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]) or not signatures:
        raise SignatureInvalid("the header Stripe-Signature must be t=<seconds>,v1=<hex>")
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256).hexdigest().encode()
    if not any(hmac.compare_digest(expected, sent) for sent in signatures):
        raise SignatureInvalid
    if abs(now_s - int(times[0])) > STRIPE_TOLERANCE_S:
        raise SignatureInvalid(f"it was signed more than {STRIPE_TOLERANCE_S} s ago")


def read_payment(body: bytes) -> tuple[str, Payment] | None:
    """The order's id and the payment that an event tells of; None when it tells of none. Raises ``BodyInvalid`` and
    ``FieldInvalid``."""
    try:
        event = msgspec.json.decode(body, type=_Event)
        if event.type not in _PAID:
            return None
        session = msgspec.json.decode(event.data.object, type=_Session)
    except msgspec.ValidationError as error:
        raise FieldInvalid(str(error), field="data") from None
    except ValueError as error:
        raise BodyInvalid(str(error)) from None
    if session.payment_status != "paid":
        return None
    if not session.client_reference_id:
        raise FieldInvalid("client_reference_id must be the id of the order", field="client_reference_id")
    currency = (session.currency or "").upper()
    amount_nanos = (session.amount_total or 0) * minor_nanos(currency)
    return session.client_reference_id, Payment(session.payment_intent or session.id, CHANNEL, currency, amount_nanos)


def minor_nanos(currency: str) -> int:
    """Nano-units of one minor unit. Raises ``FieldInvalid`` for a currency that cannot be paid in."""
    if currency in _UNCLEAR:
        raise FieldInvalid(f"{currency} cannot be paid by Stripe here", field="currency")
    if currency in _WHOLE:
        return NANO
    return NANO // (1000 if currency in _THOUSANDTHS else 100)


def check_payable(currency: str, amount_nanos: int) -> None:
    """Raises ``FieldInvalid`` for an amount that has a part of a minor unit."""
    if amount_nanos % minor_nanos(currency):
        raise FieldInvalid(f"amount has more decimals than {currency} has", field="amount")
