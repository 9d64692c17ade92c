"""What Stripe sends: events and their signatures, as https://docs.stripe.com/webhooks/signature describes them."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

SECRET = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"


def session(order: str | None, amount: int, currency: str, payment: str = "pi_1", **fields: Any) -> dict[str, Any]:
    """The event of a checkout session that was paid; ``fields`` go into the session."""
    found = {
        "id": f"cs_{payment}",
        "object": "checkout.session",
        "amount_total": amount,
        "client_reference_id": order,
        "currency": currency,
        "payment_intent": payment,
        "payment_status": "paid",
        "status": "complete",
        **fields,
    }
    event = {"id": f"evt_{payment}", "object": "event", "api_version": "2026-01-28", "livemode": True}
    return {**event, "type": "checkout.session.completed", "data": {"object": found}}


def signature(body: bytes, secret: str = SECRET, *, t: int | None = None, others: tuple[str, ...] = ()) -> str:
    """The header Stripe-Signature; ``others`` are further signatures, as while a secret is rolled."""
    t = int(time.time()) if t is None else t
    ours = hmac.new(secret.encode(), b"%d.%b" % (t, body), hashlib.sha256).hexdigest()
    return ",".join([f"t={t}", *(f"v1={each}" for each in (*others, ours)), "v0=" + "0" * 64])
