"""What a proxy must not let pass: heads that two parsers could read differently (RFC 9112 §2.2, §5.2, §6.3, §11.2)."""

from __future__ import annotations

from functools import lru_cache

from openmaas.core.bounds import HEADER_COUNT_MAX, TARGETS_CACHED_MAX, URL_BYTES_MAX
from openmaas.core.errors import Malformed

Headers = list[tuple[bytes, bytes]]

#: Said twice they make a request mean two things.
_ONCE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"x-api-key", b"expect"}
    | {b"idempotency-key"}
)
_NAME_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_TARGET_BYTES = bytes(range(0x21, 0x7F))


@lru_cache(TARGETS_CACHED_MAX)
def target_of(url: bytes, method: str) -> tuple[str, str]:
    """Path and query of a request target. Raises ``Malformed``."""
    if len(url) > URL_BYTES_MAX:
        raise Malformed(f"the target may have {URL_BYTES_MAX} bytes", field="url")
    if method == "CONNECT":
        raise Malformed("CONNECT is not served", field="method")
    if url.translate(None, _TARGET_BYTES):
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


def check_head(raw: Headers, *, http10: bool) -> tuple[dict[bytes, bytes], int | None]:
    """Headers by lower-case name and the body's length (None: chunked). Raises ``Malformed``."""
    if len(raw) > HEADER_COUNT_MAX:
        raise Malformed(f"a request may have {HEADER_COUNT_MAX} headers", field="headers")
    headers = {name.lower(): value for name, value in raw}
    if len(headers) < len(raw):
        headers = _joined(raw)
    # All names at once, all values at once: what is left of them without the bytes that are allowed.
    names, values = b"".join(headers), b"".join(headers.values())
    if b"" in headers or names.translate(None, _NAME_BYTES) or values.translate(None, _VALUE_BYTES):
        raise Malformed("a header has forbidden bytes")
    if b"host" not in headers and not http10:
        raise Malformed("the header host is missing")
    length = headers.get(b"content-length")
    if b"transfer-encoding" in headers:
        if length is not None or http10:
            raise Malformed("Transfer-Encoding does not go with Content-Length or HTTP/1.0")
        if headers[b"transfer-encoding"].lower() != b"chunked":
            raise Malformed("only the transfer coding chunked is known", field="transfer-encoding")
        return headers, None
    if length is None:
        return headers, 0
    if not length.isdigit() or len(length) > 15:
        raise Malformed("Content-Length is not a number")
    return headers, int(length)


def _joined(raw: Headers) -> dict[bytes, bytes]:
    """Headers that are there more than once, their values as one list (RFC 9110 §5.3)."""
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        lower = name.lower()
        if lower not in headers:
            headers[lower] = value
        elif lower in _ONCE:
            raise Malformed(f"the header {lower.decode('latin-1')} is there twice")
        else:
            headers[lower] += b", " + value
    return headers
