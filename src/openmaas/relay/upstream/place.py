"""Where an engine is, and who gets its answer."""

from __future__ import annotations

import ssl
from typing import Protocol

import msgspec

from openmaas.core.errors import OpenmaasError

Headers = list[tuple[bytes, bytes]]


class Place(msgspec.Struct, frozen=True):
    """Where an engine listens: a Unix socket, or a host with or without TLS. ``headers`` are ready lines.

    ``key`` is what connections are kept by; ``tail`` is what follows the target in every request.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    prefix: bytes = b""
    headers: bytes = b""
    key: str = ""
    tail: bytes = b""

    def __post_init__(self) -> None:
        scheme = "https" if self.tls else "http"
        authority = "engine" if self.path else f"{self.host}:{self.port}"
        tail = b" HTTP/1.1\r\nhost: %b\r\n%b" % (authority.encode(), self.headers)
        msgspec.structs.force_setattr(self, "key", self.path or f"{scheme}://{authority}")
        msgspec.structs.force_setattr(self, "tail", tail)

    def head(self, method: bytes, target: bytes, headers: bytes) -> bytes:
        """The head of a request; ``headers`` are ready lines."""
        return b"%b %b%b%b\r\n" % (method, target, self.tail, headers)


class Sink(Protocol):
    """Who gets an answer. Told of everything synchronously, once a read, so that no coroutine wakes for bytes."""

    def head(self, status: int, headers: Headers) -> None:
        """Status and headers have come."""

    def body(self, block: bytes) -> None:
        """One read's worth of the body."""

    def end(self) -> None:
        """The answer is complete."""

    def lost(self, error: OpenmaasError) -> None:
        """The answer broke off; nothing more will come."""
