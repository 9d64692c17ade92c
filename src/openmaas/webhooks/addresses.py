"""Which addresses may be spoken to on a customer's word: public ones, whatever form they are written in.

An IPv6 address can carry an IPv4 address, to which some gateway of the operator's network would bring what is sent
there; then that one must be public too. It looks up no names.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from openmaas.core.errors import FieldInvalid

#: Networks of IPv6 that carry an IPv4 address, and how many bits stand behind it.
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291 §2.5.5.1
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped, RFC 4291 §2.5.5.2
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)
#: NAT64 of the operator's own choice (RFC 8215), which older Pythons take for global.
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


def check_url(url: str, *, private: bool) -> None:
    """Raises ``FieldInvalid`` for an address to which nothing could ever be delivered; ``private`` as ``Deliverer``'s.
    Where a name leads to is looked at when something is sent."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        address = _numeric(parts.hostname or "")
    except ValueError as error:
        raise FieldInvalid(f"url: {error}", field="url") from None
    if not usable or not url.isascii() or not url.isprintable() or " " in url or "@" in parts.netloc:
        raise FieldInvalid("url must be such as https://host/path, without a name and password", field="url")
    if private:
        return
    if parts.scheme != "https":
        raise FieldInvalid("url must begin with https://: nothing is sent over plain HTTP", field="url")
    if parts.hostname == "localhost" or (address and not is_public(address)):
        raise FieldInvalid("url must name a host that the internet knows, not one of a private network", field="url")


def is_public(text: str) -> bool:
    """False for an address, with or without its zone, that leads into somebody's own network, or to many hosts."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    for network, behind in _CARRIERS:
        if address in network:
            return is_public(str(IPv4Address(int(address) >> behind & 0xFFFF_FFFF)))
    return address.is_global and not (address.is_multicast or address.is_site_local or address in _LOCAL_NAT64)


def _numeric(host: str) -> str | None:
    """The address that ``host`` itself is, in any form that a look-up takes for one (``127.1``); None for a name.
    Raises ``ValueError`` for what no name can be."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None
    return str(found[0][4][0])
