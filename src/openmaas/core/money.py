"""Money as integers.

A price is nano-units of a currency per million units (``8 CNY per million tokens`` is ``8_000_000_000``); an amount is
nano-units (1e-9 of a currency unit). No float ever holds money. One charge line is rounded once, half up, to a whole
nano-unit; a worst case is rounded up, so a hold is never smaller than the charge it covers.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from openmaas.core.errors import FieldInvalid

NANO = 1_000_000_000
MILLION = 1_000_000
#: Largest amount a column holds with room for sums: 4e18 nano-units, four thousand million currency units.
AMOUNT_NANOS_MAX = 4_000_000_000_000_000_000


def charge_nanos(units: int, price_nanos: int) -> int:
    """The amount for ``units`` at ``price_nanos`` per million units, rounded half up, once."""
    assert units >= 0, units
    assert price_nanos >= 0, price_nanos
    return (units * price_nanos + MILLION // 2) // MILLION


def worst_nanos(units: int, price_nanos: int) -> int:
    """As ``charge_nanos`` but rounded up: what must be set aside."""
    return -(-units * price_nanos // MILLION)


def parse_amount(text: str, *, field: str = "amount") -> int:
    """Nano-units from a decimal number such as ``"12.5"``. Raises ``FieldInvalid`` that names ``field``."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise FieldInvalid(f"{field} must be a decimal number such as 12.5, not {text!r}", field=field) from None
    if not number.is_finite():
        raise FieldInvalid(f"{field} must be a finite number", field=field)
    scaled = number * NANO
    if scaled != scaled.to_integral_value():
        raise FieldInvalid(f"{field} has more than nine decimals", field=field)
    if abs(scaled) > AMOUNT_NANOS_MAX:
        raise FieldInvalid(f"{field} is too large", field=field)
    return int(scaled)


def show_amount(nanos: int, currency: str = "") -> str:
    """``1_500_000_000, "CNY"`` → ``"1.50 CNY"``; at least two decimals, never rounded."""
    sign = "-" if nanos < 0 else ""
    whole, part = divmod(abs(nanos), NANO)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals} {currency}".rstrip()
