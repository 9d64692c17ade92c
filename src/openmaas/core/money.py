"""Money as integers.

A price is nano-units of a currency per million units (``8 CNY per million tokens`` is ``8_000_000_000``); an amount is
nano-units (1e-9 of a currency unit). No float ever holds money. One charge line is rounded once, half up, to a whole
nano-unit; a worst case is rounded up, so a hold is never smaller than the charge it covers.
"""

from __future__ import annotations

import re

from openmaas.core.errors import FieldInvalid

NANO = 1_000_000_000
MILLION = 1_000_000
#: The factor of one: of the hour of the day and of a batch, each in parts per million.
WHOLE = MILLION * MILLION
_DECIMALS = 9
_CURRENCY = re.compile(r"[A-Z]{3}")
#: What is counted like money and is none: what a plan allows, and what a resource pack holds.
CREDITS, TOKENS = "credits", "tokens"
#: Decimals of currencies that have other than two (ISO 4217): of those, the smallest unit is what can be paid.
_MINOR_DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "XOF": 0, "XAF": 0, "PYG": 0, "UGX": 0}
_MINOR_DECIMALS |= {"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3}
#: Digits as they are written in a ledger: no exponent, no underscore, no digits of other scripts.
_AMOUNT = re.compile(r"([+-]?)([0-9]{1,64})(?:\.([0-9]{1,64}))?")
#: Largest amount a column holds with room for sums: 4e18 nano-units, four thousand million currency units.
AMOUNT_NANOS_MAX = 4_000_000_000_000_000_000
#: Largest balance, either way: two such amounts, and still less than 2^63.
ACCOUNT_NANOS_MAX = 2 * AMOUNT_NANOS_MAX


def charge_nanos(units: int, price_nanos: int, factor: int = WHOLE) -> int:
    """The amount for ``units`` at ``price_nanos`` per million units times ``factor``, rounded half up, once."""
    assert units >= 0 <= price_nanos, (units, price_nanos)
    if factor == WHOLE:
        return (units * price_nanos + MILLION // 2) // MILLION
    return (units * price_nanos * factor + MILLION * WHOLE // 2) // (MILLION * WHOLE)


def worst_nanos(units: int, price_nanos: int, factor: int = WHOLE) -> int:
    """As ``charge_nanos`` but rounded up: what must be set aside."""
    return -(-units * price_nanos * factor // (MILLION * WHOLE))


def share_nanos(nanos: int, part: int, whole: int) -> int:
    """``nanos`` times ``part / whole``, rounded half up."""
    return (2 * nanos * part + whole) // (2 * whole)


def parse_amount(text: str, *, field: str = "amount") -> int:
    """Nano-units from a decimal number such as ``"12.5"``. Raises ``FieldInvalid`` that names ``field``."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise FieldInvalid(f"{field} must be a decimal number such as 12.5, not {text[:40]!r}", field=field)
    sign, whole, part = found[1], found[2], found[3] or ""
    if part[_DECIMALS:].strip("0"):
        raise FieldInvalid(f"{field} has more than nine decimals", field=field)
    nanos = int(whole) * NANO + int(part[:_DECIMALS].ljust(_DECIMALS, "0"))
    if nanos > AMOUNT_NANOS_MAX:
        raise FieldInvalid(f"{field} is too large", field=field)
    return -nanos if sign == "-" else nanos


def check_currency(text: str) -> str:
    """``text``, when it is such as ``CNY`` (ISO 4217). Raises ``FieldInvalid``."""
    if not _CURRENCY.fullmatch(text):
        raise FieldInvalid(f"currency must be three capital letters such as CNY, not {text[:40]!r}", field="currency")
    return text


def show_amount(nanos: int, currency: str = "") -> str:
    """``1_500_000_000, "CNY"`` → ``"1.50 CNY"``; at least two decimals, never rounded."""
    sign = "-" if nanos < 0 else ""
    whole, part = divmod(abs(nanos), NANO)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals} {currency}".rstrip()


def minor_decimals(currency: str) -> int:
    """Decimals of what can be paid: 2 for CNY, 0 for JPY."""
    return _MINOR_DECIMALS.get(currency, 2)


def show_minor(minor: int, currency: str) -> str:
    """``123456, "CNY"`` → ``"1,234.56"``, as a document shows it."""
    decimals = minor_decimals(currency)
    whole, part = divmod(abs(minor), 10**decimals)
    return f"{'-' if minor < 0 else ''}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")


class Rounding:
    """Exact amounts (nanos) as what a document shows, so that nothing is lost: the running sum is rounded half up
    (towards plus infinity) to the currency's smallest unit, and a line is the difference to the line before.

    So lines add up to their total, each lies within one unit of its exact amount, and ``carry_nanos``, the exact sum
    less the shown one, is never more than half a unit: the next document begins with it, and over time the documents
    add up to the ledger.
    """

    def __init__(self, currency: str, carry_nanos: int = 0) -> None:
        self._unit_nanos = 10 ** (_DECIMALS - minor_decimals(currency))
        self.carry_nanos = carry_nanos

    def show(self, nanos: int) -> int:
        """The next amount, in the smallest unit."""
        exact = self.carry_nanos + nanos
        shown = share_nanos(exact, 1, self._unit_nanos)
        self.carry_nanos = exact - shown * self._unit_nanos
        return shown
