"""Tokens as SDKs of Zhipu sign them, made by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(key: str, seconds: float = 210, *, unit: int = 1000, now_s: float | None = None, **head: Any) -> str:
    """What the key ``id.secret`` signs, good for ``seconds``; ``unit`` is 1000 for milliseconds, 1 for seconds."""
    key_id, _, secret = key.partition(".")
    now_s = time.time() if now_s is None else now_s
    claims = {"api_key": key_id, "exp": int((now_s + seconds) * unit), "timestamp": int(now_s * unit)}
    header = {"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"} | head
    signed = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{encoded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"
