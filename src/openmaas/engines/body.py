"""Reading a request's JSON body into a struct, with an error that names the field.

It knows msgspec's messages and nothing of any engine; every engine calls it.
"""

from __future__ import annotations

import re
from typing import Literal, TypeVar

import msgspec

from openmaas.core.errors import BodyInvalid, FieldInvalid

#: Who can speak in a conversation.
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
_T = TypeVar("_T")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """``body`` as the decoder's type. Raises ``BodyInvalid`` or ``FieldInvalid`` that names the path of the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        said = str(wrong)
        place = _AT.search(said)
        field = place.group(1) if place else ""
        reason = said[: place.start()] if place else said
        if not field and (missing := _MISSING.fullmatch(reason)):
            field, reason = missing.group(1), "it is required"
        if not field:
            raise BodyInvalid(reason) from None
        raise FieldInvalid(f"{field}: {reason}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BodyInvalid(str(wrong)) from None
    except RecursionError:
        raise BodyInvalid("it is nested too deep") from None


def check_range(field: str, value: int | None, low: int, high: int | None = None) -> None:
    """Raises ``FieldInvalid`` that names ``field`` unless ``value`` is None or within ``low``…``high``."""
    if value is None or (value >= low and (high is None or value <= high)):
        return
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"
    raise FieldInvalid(f"{field} must be {bounds}, not {value}", field=field)


def least(*values: int | None) -> int | None:
    """The smallest of the values that are there."""
    there = [value for value in values if value is not None]
    return min(there) if there else None
