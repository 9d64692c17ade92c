"""A key as a signed token, which SDKs of Zhipu send: a JWT (RFC 7519) over HMAC-SHA256 with the key's secret.

Its moments are in milliseconds, or in seconds where a sample of the vendor's says so; a library that checks ``exp`` by
the standard would take the milliseconds for a day in the year 50,000. So everything is checked here, by hand.
"""

from __future__ import annotations

import base64
import hmac

import msgspec

from openmaas.core.bounds import TOKEN_TERM_MS_MAX
from openmaas.core.errors import KeyMalformed, KeyUnknown, TokenExpired

#: A moment above this is in milliseconds: in seconds it would be the year 33658, in milliseconds it is 2001.
_MILLISECONDS_FROM = 10**12


class _Header(msgspec.Struct):
    alg: str


class _Claims(msgspec.Struct):
    api_key: str
    exp: int | float
    timestamp: int | float | None = None


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(_Claims)


class Token(msgspec.Struct, frozen=True):
    """What a token says, before it is believed. ``key_id`` is who signed it, if it is true."""

    key_id: str
    until_ms: float
    signed: bytes
    signature: bytes

    def check(self, secret: bytes, now_ms: int) -> None:
        """Raises ``KeyUnknown`` unless ``secret`` signed it, ``TokenExpired`` when it is over."""
        right = _encoded(hmac.digest(secret, self.signed, "sha256"))
        if not hmac.compare_digest(right, self.signature):
            raise KeyUnknown
        if self.until_ms <= now_ms:
            raise TokenExpired


def read_token(sent: str, now_ms: int) -> Token:
    """The token in ``sent``. Raises ``KeyMalformed`` for what is none, is signed in another way (RFC 8725 §3.1), or
    would be good for longer than ``TOKEN_TERM_MS_MAX``: who finds a token must not be able to use it for ever."""
    signed, _, signature = sent.rpartition(".")
    head, _, body = signed.partition(".")
    try:
        algorithm = _header.decode(_decoded(head)).alg
        claims = _claims.decode(_decoded(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise KeyMalformed("it is not a JSON web token with api_key and exp") from None
    if algorithm != "HS256":
        raise KeyMalformed("its alg must be HS256")
    latest_ms = now_ms + TOKEN_TERM_MS_MAX
    until_ms, since_ms = _ms(claims.exp), _ms(claims.timestamp or 0)
    if not until_ms <= latest_ms or not since_ms <= latest_ms:
        raise KeyMalformed(f"its exp and timestamp must be at most {TOKEN_TERM_MS_MAX // 3_600_000} hours ahead")
    return Token(claims.api_key, until_ms, signed.encode(), signature.encode())


def _ms(moment: float) -> float:
    return moment if moment > _MILLISECONDS_FROM else moment * 1000


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
