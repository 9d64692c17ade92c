"""One client connection, byte by byte: what HTTP libraries hide from a test."""

from __future__ import annotations

import json
import select
import socket
import ssl
from typing import Any

from installation import Installation


class Raw:
    """A socket to a house. What was read and not yet asked for stays for the next call."""

    def __init__(self, house: Installation, tls: ssl.SSLContext | None = None, *, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", house.port))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._key = house.key
        self.seen = bytearray()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def patience(self, timeout_s: float) -> None:
        """How long a read waits before it is a ``TimeoutError``."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        """Go away, as a client that was killed does."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.sendall(data)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", headers: str = "", held: bool = False
    ) -> None:
        """One request; ``headers`` are lines that end in CRLF. ``held`` keeps the body back: send it yourself."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        length = f"content-length: {len(data)}\r\n" if body is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key or self._key}\r\n{headers}{length}"
        if body is not None:
            head += "content-type: application/json\r\n"
        self.send(head.encode() + b"\r\n" + (b"" if held else data))

    def until(self, mark: bytes, count: int = 1) -> bytearray:
        """Read until ``mark`` was seen ``count`` times; returns all that is waiting to be taken."""
        found, begin = 0, 0
        while True:
            while (at := self.seen.find(mark, begin)) >= 0:
                found, begin = found + 1, at + len(mark)
            if found >= count:
                return self.seen
            begin = max(begin, len(self.seen) - len(mark) + 1)
            assert self._read(), self.seen[-500:]

    def head(self) -> tuple[int, dict[str, str]]:
        """The next status and its headers, lower-case."""
        self.until(b"\r\n\r\n")
        head = self.take(self.seen.find(b"\r\n\r\n") + 4)
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next whole answer."""
        status, headers = self.head()
        if head_only or status in (204, 304) or status < 200:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while (size := int(self._line(), 16)) > 0:
                body += self.take(size)
                assert self.take(2) == b"\r\n"
            assert self.take(2) == b"\r\n"
            return status, headers, body
        return status, headers, self.take(int(headers["content-length"]))

    def rest(self) -> bytes:
        """All until the other side closes."""
        while self._read():
            pass
        return self.take(len(self.seen))

    def waiting(self, timeout_s: float = 0) -> bool:
        """True when there are bytes, or an end, to read now."""
        return bool(self.seen) or bool(select.select([self._socket], [], [], timeout_s)[0])

    def pull(self) -> bool:
        """Read what is there now without waiting for more; False when the other side has closed."""
        while self.waiting_socket():
            if not self._read():
                return False
        return True

    def waiting_socket(self) -> bool:
        """True when the kernel has bytes for us."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def _line(self) -> bytes:
        self.until(b"\r\n")
        return self.take(self.seen.find(b"\r\n") + 2)

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        while len(self.seen) < size:
            assert self._read(), (size, self.seen[-500:])
        found = bytes(self.seen[:size])
        del self.seen[:size]
        return found

    def _read(self) -> bool:
        try:
            block = self._socket.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            return False
        self.seen += block
        return bool(block)
