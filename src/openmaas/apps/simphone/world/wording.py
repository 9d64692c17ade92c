"""A language's words, and values that a text can hold: an amount, a moment, each written as the language does.

The words and all that a world is seeded with stand in ``words/zh.toml`` and ``words/en.toml``, list for list alike: the
same seed tells the same story in both. ``{lunch}`` in a text is the bare value, as the judge compares it;
``{lunch:date}``, ``{lunch:time}``, ``{lunch:day}`` and ``{rent:money}``, ``{rent:plain}`` are for people.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.errors import FieldInvalid

LANGUAGES = ("zh", "en")


class Words(msgspec.Struct, frozen=True):
    """A language: what pages say, how they refuse, what the applications are called, and what a world is made of."""

    language: str
    ui: dict[str, str]
    refusals: dict[str, str]
    apps: dict[str, str]
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    date_form: str
    seeds: dict[str, Any]

    def date(self, day: date) -> str:
        """A day as people write it."""
        return self.date_form.format(day=day.day, month=self.months[day.month - 1])

    def time(self, at: datetime) -> str:
        """A time of day."""
        return f"{at:%H:%M}"

    def money(self, cents: int) -> str:
        """An amount with its currency."""
        return f"{'−' if cents < 0 else ''}¥{_plain(abs(cents))}"


@cache
def words(language: str) -> Words:
    """Raises ``FieldInvalid`` for a language that the world does not speak."""
    if language not in LANGUAGES:
        raise FieldInvalid(language, field="language")
    text = (Path(__file__).parent / "words" / f"{language}.toml").read_text(encoding="utf-8")
    return msgspec.convert({"language": language, **tomllib.loads(text)}, Words)


class Cents(msgspec.Struct, frozen=True):
    """An amount in a text: ``{x}`` is its cents, ``{x:money}`` ¥38.50, ``{x:plain}`` 38.50."""

    cents: int

    def __format__(self, spec: str) -> str:
        return {"": str(self.cents), "money": f"¥{_plain(self.cents)}", "plain": _plain(self.cents)}[spec]


class Moment(msgspec.Struct, frozen=True):
    """A moment in a text: ``{x}`` in ISO 8601, ``{x:date}`` and ``{x:time}`` for people, ``{x:day}`` in a form."""

    at: datetime
    words: Words

    def __format__(self, spec: str) -> str:
        match spec:
            case "date":
                return self.words.date(self.at)
            case "time":
                return self.words.time(self.at)
            case "day":
                return self.at.date().isoformat()
            case _:
                return bare(self.at)


#: What a world's texts and tasks may name.
Plot = Mapping[str, str | int | Cents | Moment]


def bare(value: object) -> str:
    """A value as a judge compares it."""
    return value.isoformat(timespec="minutes") if isinstance(value, datetime) else str(value)


def _plain(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
