"""The top-level members of a JSON body as they came, and some of them read as values.

Every dialect whose requests are not passed on as bytes reads them by this; it knows no dialect and no member.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from openmaas.core.errors import BodyInvalid, FieldInvalid, FieldMissing
from openmaas.dialects.conversation import Json

T = TypeVar("T")
_members = msgspec.json.Decoder(dict[str, Json])


def members_of(body: bytes | bytearray) -> dict[str, Json]:
    """The top-level members of a request, as they came. Raises ``BodyInvalid``."""
    try:
        return _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyInvalid(str(error)) from None
    except RecursionError:
        raise BodyInvalid("it is nested too deep") from None


def checked(decoder: msgspec.json.Decoder[T], members: dict[str, Json]) -> T:
    """Members as the decoder's type. Raises ``FieldMissing``, and ``FieldInvalid`` that names the field."""
    try:
        return decoder.decode(msgspec.json.encode(members))
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or said.rpartition("`")[0].rpartition("`")[2]
        kind = FieldMissing if "missing required field" in said else FieldInvalid
        raise kind(f"{field}: {said}", field=field) from None
    except RecursionError:
        raise BodyInvalid("it is nested too deep") from None
