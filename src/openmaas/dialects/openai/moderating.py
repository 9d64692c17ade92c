"""A moderation of the OpenAI wire: bytes pass, and each text is a call. Parts are one input, said together.

What engines count is the ledger's and does not pass. https://platform.openai.com/docs/api-reference/moderations
"""

from __future__ import annotations

import msgspec

from openmaas.core.bounds import MODERATED_MAX
from openmaas.core.errors import EngineFailed, FieldInvalid, FieldMissing
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.members import members_of
from openmaas.dialects.openai.request import Ask

_NULL = msgspec.Raw(b"null")
#: What OpenAI takes when nobody names one; an operator gives one of their models this name.
_USUAL = msgspec.Raw(b'"omni-moderation-latest"')
_encode = msgspec.json.encode
_inputs = msgspec.json.Decoder(list[msgspec.Raw])
_answer = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Moderating(Ask):
    """``texts`` is how many results are wanted."""

    def __init__(self, body: bytes | bytearray) -> None:
        members = {name: value for name, value in members_of(body).items() if value != _NULL}
        if "input" not in members:
            raise FieldMissing("input is required: a text, a list of texts, or a list of parts", field="input")
        super().__init__("moderations", _encode({"model": _USUAL} | members))
        self.texts = _count(members["input"])
        self.units = (("call", self.texts),)

    def whole(self, body: bytes, _served_name: str, _ticket: Ticket) -> bytes:
        """See ``Ask``. Raises ``EngineFailed`` for what is no moderation."""
        try:
            told = _answer.decode(body)
            results = _inputs.decode(told["results"])
        except (msgspec.MsgspecError, KeyError) as error:
            raise EngineFailed(f"its answer was no moderation ({error})") from None
        if len(results) != self.texts:
            raise EngineFailed("its answer lacks results")
        told.pop("usage", None)
        return _encode(told | {"model": self.model})


def _count(told: msgspec.Raw) -> int:
    kinds = b"" if memoryview(told)[0] != ord("[") else bytes(memoryview(each)[0] for each in _inputs.decode(told))
    if memoryview(told)[0] == ord('"') or (kinds and set(kinds) == set(b"{")):
        return 1
    if not kinds or set(kinds) != set(b'"'):
        raise FieldInvalid("input must be a text, a list of texts, or a list of parts", field="input")
    if len(kinds) > MODERATED_MAX:
        raise FieldInvalid(f"input may have at most {MODERATED_MAX} texts", field="input")
    return len(kinds)
