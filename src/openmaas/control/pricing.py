"""Prices as they are written, by the management API and in price files: decimal text in, ``Terms`` out, and back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from openmaas.control.shapes import NewHours, NewPrice
from openmaas.control.show import show
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import MILLION, parse_amount
from openmaas.core.terms import MINUTES_A_DAY, Band, Hours, Terms
from openmaas.ledger.prices import Price

#: Units whose price is written per million, as that of tokens; that of the others is for one.
PER_MILLION = ("character", "storage", "training")


def terms_of(body: NewPrice) -> Terms:
    """The terms that ``body`` writes down. Raises ``FieldInvalid``."""
    first = Band(*_prices(body.input, body.cached, body.output), _optional(body.reasoning, "reasoning"))
    rest = [
        Band(
            *_prices(band.input, band.cached, band.output),
            _optional(band.reasoning, "reasoning"),
            input_from=band.input_from,
            output_from=band.output_from,
        )
        for band in body.bands
    ]
    return Terms(
        (first, *rest),
        units=units_of(body.units),
        hours=tuple(_hours(hours) for hours in body.hours),
        batch_ppm=_ppm(body.batch, "batch"),
    )


def show_price(price: Price) -> dict[str, Any]:
    """A price version for the outside; what is as it is for most prices is left out."""
    terms = price.terms
    shown = show(price)
    del shown["terms"]
    first, *bands = [show(band) for band in terms.bands]
    del first["input_from"], first["output_from"]
    shown |= {name: value for name, value in first.items() if value is not None}
    if bands:
        shown["bands"] = bands
    if terms.units:
        shown["units"] = {name: show({"x_nanos": nanos // _per(name)})["x"] for name, nanos in terms.units.items()}
    if terms.hours:
        shown["hours"] = [
            {
                "from": _clock(hours.from_minute),
                "until": _clock(hours.until_minute),
                "zone": hours.zone,
                "factor": _decimal(hours.factor_ppm),
                **({"days": list(hours.days)} if hours.days else {}),
            }
            for hours in terms.hours
        ]
    shown["batch"] = _decimal(terms.batch_ppm)
    return shown


def _prices(input_: str, cached: str | None, output: str) -> tuple[int, int, int]:
    prompt = parse_amount(input_, field="input")
    return (
        prompt,
        prompt if cached is None else parse_amount(cached, field="cached"),
        parse_amount(output, field="output"),
    )


def units_of(told: Mapping[Any, str]) -> dict[str, int]:
    """What units cost, as terms have it. Raises ``FieldInvalid``."""
    return {name: parse_amount(text, field=f"units.{name}") * _per(name) for name, text in told.items()}


def _per(unit: str) -> int:
    """How many of a unit its written price is not for, of the million that a price is for."""
    return 1 if unit in PER_MILLION else MILLION


def _optional(text: str | None, field: str) -> int | None:
    return None if text is None else parse_amount(text, field=field)


def _hours(hours: NewHours) -> Hours:
    until = _minute(hours.until)
    return Hours(_minute(hours.from_), until, hours.zone, _ppm(hours.factor, "hours.factor"), tuple(hours.days))


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    found = int(hour) * 60 + int(minute)
    if found > MINUTES_A_DAY:
        raise FieldInvalid(f"{text} is no time of the day", field="hours")
    return found


def _ppm(text: str, field: str) -> int:
    nanos = parse_amount(text, field=field)
    if nanos < 0 or nanos % 1000:
        raise FieldInvalid(f"{field} must be a factor of at least 0 with at most six decimals", field=field)
    return nanos // 1000


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _decimal(ppm: int) -> str:
    return format(Decimal(ppm) / MILLION, "f")
