"""One delivery on the wire: signed as Standard Webhooks says, sent to an address that was looked at first.

An endpoint is a customer's word, so it may name a host of the operator's own network. Its name is resolved once; unless
private networks are allowed, an address that is not public is refused, and the connection goes to the very address that
was looked at (no second look-up that could say something else). Redirects are not followed. An attempt has a deadline;
then its socket is shut. A look-up takes the resolver's time, and nothing is sent when it took too long.
https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from openmaas.core.bounds import SAID_BYTES_MAX, WEBHOOK_TIMEOUT_S
from openmaas.core.clock import iso_utc
from openmaas.core.version import VERSION
from openmaas.store.outbox import Event
from openmaas.webhooks.addresses import is_public


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
    except _Late:
        return 0, f"no whole answer within {WEBHOOK_TIMEOUT_S:g} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, f"{type(error).__name__}: {error}"[:SAID_BYTES_MAX]


def _post(url: str, headers: Mapping[str, str], body: bytes, *, private: bool) -> tuple[int, str]:
    deadline_s = time.monotonic() + WEBHOOK_TIMEOUT_S
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    if not secure and not private:
        return 0, "only https is allowed"
    port = parts.port or (443 if secure else 80)
    address = _address(host, port, private=private)
    if address is None:
        return 0, "its name stands for an address of a private network"
    connection = _Pinned(host, port, address, deadline_s, secure=secure)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        answer = connection.getresponse()
        said = answer.read(SAID_BYTES_MAX).decode("utf-8", "replace")
    finally:
        connection.end()
    return answer.status, said


def _address(host: str, port: int, *, private: bool) -> str | None:
    """An address of ``host``; None when one of them must not be spoken to."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    return found[0] if private or all(map(is_public, found)) else None


class _Late(Exception):  # noqa: N818 - it is caught here
    """The deadline of an attempt has passed."""


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was chosen before, with the name's own certificate. It is shut at its deadline:
    a time-out of the socket would begin again with every byte. Raises ``_Late`` if nothing may begin any more."""

    def __init__(self, host: str, port: int, address: str, deadline_s: float, *, secure: bool) -> None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise _Late
        super().__init__(host, port, timeout=left_s)
        self._address = address
        self._secure = secure
        self._late = False
        self._plain: socket.socket | None = None  # ``sock`` is gone while the last of an answer is read
        self._timer = threading.Timer(left_s, self._shut)
        self._timer.start()

    def connect(self) -> None:
        self._keep(socket.create_connection((self._address, self.port), self.timeout))
        if self._secure:
            context = ssl.create_default_context()
            secured = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self._keep(secured)
            secured.do_handshake()

    def end(self) -> None:
        """Close it. Raises ``_Late`` when it was shut before."""
        self._timer.cancel()
        self._timer.join()
        self.close()
        if self._late:
            raise _Late

    def _keep(self, fresh: socket.socket) -> None:
        self.sock = self._plain = fresh
        if self._late:  # the deadline passed while there was nothing to shut
            raise _Late

    def _shut(self) -> None:
        self._late = True
        if self._plain is not None:
            with contextlib.suppress(OSError):  # the other side has closed it, or TLS is about to take it over
                socket.socket.shutdown(self._plain, socket.SHUT_RDWR)  # below TLS, whose reader is in another thread
