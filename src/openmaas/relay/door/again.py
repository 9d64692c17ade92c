"""The head of the last request on a connection, so that the same head need not be read twice.

A client sends one head again and again; only the length of the body changes. What was parsed and found strict once
means the same the next time: a comparison of bytes stands for the parser and for ``strict``. (HTTP/2 has the same
thought in its header table, RFC 7541.) A head that differs in any other byte goes the long way.
"""

from __future__ import annotations

import re

from openmaas.core.bounds import BODY_BYTES_MAX, LENGTH_DIGITS_MAX
from openmaas.relay.door.message import Head

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)


class Again:
    """The bytes of ``head``, but for the digits of the body's length: those ``before`` them and those ``after``."""

    __slots__ = ("_after", "_before", "_most", "head")

    def __init__(self, head: Head, block: bytes, start: int, end: int) -> None:
        self.head = head
        self._before = block[:start]
        self._after = block[end:]
        self._most = len(block) + LENGTH_DIGITS_MAX

    def match(self, data: memoryview) -> tuple[int, int] | None:
        """Where the body begins and how long it is, when ``data`` begins with the same head; None when it does not."""
        block, before = bytes(data[: self._most]), self._before
        if not block.startswith(before):
            return None
        start = len(before)
        end = block.find(b"\r", start, start + LENGTH_DIGITS_MAX)
        digits = block[start:end]
        if end < 0 or not digits.isdigit() or not block.startswith(self._after, end):
            return None
        length = int(digits)
        return None if length > BODY_BYTES_MAX else (end + len(self._after), length)


def remember(data: memoryview, head: Head, *, keep_alive: bool) -> Again | None:
    """What to keep of a ``head`` that ``data`` began with; None when a request may mean more than its bytes say."""
    if not head.gathers or not keep_alive or b"expect" in head.headers:
        return None
    block = bytes(data)
    block = block[: block.find(b"\r\n\r\n") + 4]
    length = _LENGTH.search(block)
    return None if length is None else Again(head, block, *length.span(1))
