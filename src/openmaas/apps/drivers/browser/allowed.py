"""What a browser may reach: a list that somebody wrote, and the one question that is asked of it.

An entry is a name (``example.org``), all names below one (``*.example.org``), an address (``192.0.2.7``), a network
(``10.0.0.0/8``) or ``*``, each with a port behind it (``127.0.0.1:8000``) or else for the ports of the web alone. A
name must be listed, and where it leads as well unless that is a public address: a listed name that turns out to be a
machine of the house opens no door to it. ``*`` is every name and every public address. It resolves no names itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from openmaas.core.errors import FieldInvalid

WEB_PORTS = frozenset({80, 443})
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Entry:
    """One line of the list, read."""

    name: str
    network: _Network | None
    ports: frozenset[int]

    def names(self, host: str, port: int) -> bool:
        """Whether it lists this name at this port."""
        below = self.name.startswith("*.") and host.endswith(self.name[1:])
        return port in self.ports and (self.name in ("*", host) or below)

    def holds(self, address: _Address, port: int) -> bool:
        """Whether it lists this address at this port."""
        return port in self.ports and self.network is not None and address in self.network


@dataclass(frozen=True)
class Allowed:
    """The whole list."""

    entries: tuple[Entry, ...]

    def name(self, host: str, port: int) -> bool:
        """Whether a connection to this host may be thought of at all; an address is a name that leads to itself."""
        address = address_of(host)
        if address is not None and any(entry.holds(address, port) for entry in self.entries):
            return True
        return any(entry.names(host.rstrip(".").lower(), port) for entry in self.entries)

    def address(self, address: str, port: int) -> bool:
        """Whether a listed name may lead there."""
        there = address_of(address)
        if there is None:
            return False
        return _public(there) or any(entry.holds(there, port) for entry in self.entries)


def read(lines: tuple[str, ...]) -> Allowed:
    """The list of these lines. Raises ``FieldInvalid`` for one that is none of the forms above."""
    return Allowed(tuple(_entry(line.strip().lower()) for line in lines))


#: Behind this prefix an IPv4 address follows (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def address_of(host: str) -> _Address | None:
    """The address that a host is written as, if it is one; an IPv4 in clothes of IPv6 (NAT64, 6to4) is the IPv4."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _entry(line: str) -> Entry:
    host, ports = line, WEB_PORTS
    before, colon, after = line.rpartition(":")
    if colon and after.isdigit() and (":" not in before or before.endswith("]")):
        host, ports = before, frozenset({int(after)})
    try:
        return Entry(host, ipaddress.ip_network(host.strip("[]")), ports)
    except ValueError:
        pass
    labels = host.removeprefix("*.").split(".")
    if host != "*" and not all(label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise FieldInvalid(f"{line!r} is neither a name, an address nor a network")
    return Entry(host, None, ports)


def _public(address: _Address) -> bool:
    site = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not address.is_multicast and not site
