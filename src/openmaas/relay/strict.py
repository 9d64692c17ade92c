"""What a proxy must not let pass: heads that two parsers could read differently (RFC 9112 §2.2, §5.2, §6.3, §11.2)."""

from __future__ import annotations

import re

from openmaas.core.bounds import HEADER_COUNT_MAX, URL_BYTES_MAX
from openmaas.core.errors import Malformed

#: Said twice they make a request mean two things.
_ONCE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"x-api-key", b"expect"}
    | {b"idempotency-key"}
)
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_BAD_TARGET = re.compile(rb"[^\x21-\x7e]")


def target_of(url: bytes, method: str) -> tuple[str, str]:
    """Path and query of a request target. Raises ``Malformed``."""
    if len(url) > URL_BYTES_MAX:
        raise Malformed(f"the target may have {URL_BYTES_MAX} bytes", field="url")
    if method == "CONNECT":
        raise Malformed("CONNECT is not served", field="method")
    if _BAD_TARGET.search(url):
        raise Malformed("the target has bytes that are not visible ASCII")
    if url == b"*" and method == "OPTIONS":
        return "*", ""
    if not url.startswith(b"/"):  # the absolute form that a proxy gets
        scheme, _, rest = url.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            raise Malformed("the target must begin with /")
        slash = rest.find(b"/")
        url = rest[slash:] if slash >= 0 else b"/"
    path, _, query = url.partition(b"?")
    return path.decode("ascii"), query.decode("ascii")


def check_head(raw: list[tuple[bytes, bytes]], *, http10: bool) -> tuple[dict[bytes, bytes], int | None]:
    """Headers by lower-case name and the body's length (None: chunked). Raises ``Malformed``."""
    if len(raw) > HEADER_COUNT_MAX:
        raise Malformed(f"a request may have {HEADER_COUNT_MAX} headers", field="headers")
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        lower = name.lower()
        if not _NAME(lower) or _BAD_VALUE.search(value):
            raise Malformed("a header has forbidden bytes")
        if lower not in headers:
            headers[lower] = value
        elif lower in _ONCE:
            raise Malformed(f"the header {lower.decode()} is there twice")
        else:
            headers[lower] += b", " + value
    if b"host" not in headers and not http10:
        raise Malformed("the header host is missing")
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if length is not None or http10:
            raise Malformed("Transfer-Encoding does not go with Content-Length or HTTP/1.0")
        if coding.lower() != b"chunked":
            raise Malformed("only the transfer coding chunked is known", field="transfer-encoding")
        return headers, None
    if length is None:
        return headers, 0
    if not length.isdigit() or len(length) > 15:
        raise Malformed("Content-Length is not a number")
    return headers, int(length)
