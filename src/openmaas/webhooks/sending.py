"""One delivery on the wire: signed as Standard Webhooks says, sent to an address that was looked at first.

An endpoint is a customer's word, so it may name a host of the operator's own network. Its name is resolved once; unless
private networks are allowed, an address that is not public is refused, and the connection goes to the very address that
was looked at (no second look-up that could say something else). Redirects are not followed. https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from openmaas.core.bounds import SAID_BYTES_MAX, WEBHOOK_TIMEOUT_S
from openmaas.core.clock import iso_utc
from openmaas.core.version import VERSION
from openmaas.store.outbox import Event


def body_of(event: Event) -> bytes:
    """What an endpoint is sent."""
    told = {"id": event.id, "type": event.type, "timestamp": iso_utc(event.at_ms), "data": event.data}
    return msgspec.json.encode(told)


def shown_secret(secret: bytes) -> str:
    """A secret as its owner is shown it."""
    return "whsec_" + base64.b64encode(secret).decode()


def signed(event_id: str, timestamp_s: int, body: bytes, secrets: Sequence[bytes]) -> str:
    """The ``webhook-signature`` header: one signature for each secret, parted by a space."""
    content = b"%b.%d.%b" % (event_id.encode(), timestamp_s, body)
    marks = [base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets]
    return " ".join(f"v1,{mark}" for mark in marks)


def send(url: str, event: Event, timestamp_s: int, secrets: Sequence[bytes], *, private: bool) -> tuple[int, str]:
    """One attempt: the status and the first bytes of the answer; status 0, and why, when there was none."""
    body = body_of(event)
    headers = {
        "content-type": "application/json",
        "user-agent": f"openmaas/{VERSION}",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signed(event.id, timestamp_s, body, secrets),
    }
    try:
        return _post(url, headers, body, private=private)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, f"{type(error).__name__}: {error}"[:SAID_BYTES_MAX]


def _post(url: str, headers: Mapping[str, str], body: bytes, *, private: bool) -> tuple[int, str]:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    if not secure and not private:
        return 0, "only https is allowed"
    port = parts.port or (443 if secure else 80)
    address = _address(host, port, private=private)
    if address is None:
        return 0, "its name stands for an address of a private network"
    connection = _Pinned(host, port, address, secure=secure)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(SAID_BYTES_MAX).decode("utf-8", "replace")
    finally:
        connection.close()


def _address(host: str, port: int, *, private: bool) -> str | None:
    """An address of ``host``; None when one of them must not be spoken to."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    public = all(ipaddress.ip_address(each.partition("%")[0]).is_global for each in found)
    return found[0] if private or public else None


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was chosen before, with the name's own certificate."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool) -> None:
        super().__init__(host, port, timeout=WEBHOOK_TIMEOUT_S)
        self._address = address
        self._secure = secure

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = plain
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
