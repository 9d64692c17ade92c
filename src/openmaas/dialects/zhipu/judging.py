"""A moderation of Zhipu's: the OpenAI wire's with a level of risk for each input.

An engine of ours says the level; of another, what is flagged is ``REJECT``.
https://docs.bigmodel.cn/api-reference/模型-api/内容安全
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.errors import EngineFailed, FieldInvalid
from openmaas.dialects.conversation import Json
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.members import checked, members_of
from openmaas.dialects.openai.moderating import Moderating
from openmaas.dialects.zhipu.read import text_of

_encode = msgspec.json.encode


class _Address(msgspec.Struct):
    url: str


class _Part(msgspec.Struct, omit_defaults=True):
    type: str
    text: str | None = None
    image_url: str | _Address | None = None


class _Asked(msgspec.Struct):
    input: str | _Part | list[str | _Part]
    model: str = "moderation"


class _Result(msgspec.Struct):
    flagged: bool = False
    categories: dict[str, bool] = {}
    risk_level: str = ""


class _Results(msgspec.Struct):
    results: list[_Result]


_asked = msgspec.json.Decoder(_Asked)
_results = msgspec.json.Decoder(_Results)
_NULL = msgspec.Raw(b"null")


class Judging(Moderating):
    """A picture is looked at alone: the OpenAI wire has one result for all parts of a request."""

    def __init__(self, body: bytes | bytearray) -> None:
        members = {name: value for name, value in members_of(body).items() if value != _NULL}
        self._request_id = text_of(members, "request_id")
        asked = checked(_asked, {name: members[name] for name in _Asked.__struct_fields__ if name in members})
        told, single = asked.input, not isinstance(asked.input, list)
        parts = [told] if not isinstance(told, list) else told
        inner: Json | list[Any]
        if single and isinstance(told, _Part) and told.type == "image_url" and told.image_url is not None:
            url = told.image_url.url if isinstance(told.image_url, _Address) else told.image_url
            inner, self._kind = [{"type": "image_url", "image_url": {"url": url}}], "image"
        else:
            inner = [_text(each, "input" if single else f"input[{at}]") for at, each in enumerate(parts)]
            self._kind = "text"
        super().__init__(_encode({"model": asked.model, "input": inner}))

    def whole(self, body: bytes, _served_name: str, ticket: Ticket) -> bytes:
        """See ``Ask``."""
        try:
            found = _results.decode(body).results
        except msgspec.MsgspecError as error:
            raise EngineFailed(f"its answer was no moderation ({error})") from None
        if len(found) != self.texts:
            raise EngineFailed("its answer lacks results")
        head: dict[str, Any] = {"id": ticket.request_id, "request_id": self._request_id or ticket.request_id}
        usage = {f"moderation_{self._kind}": {"call_count": self.texts}}
        results = [self._judged(each) for each in found]
        return _encode(head | {"created": ticket.opened_ms, "result_list": results, "usage": usage})

    def _judged(self, result: _Result) -> dict[str, Any]:
        level = result.risk_level or ("REJECT" if result.flagged else "PASS")
        kinds = [name for name, there in result.categories.items() if there]
        return {"content_type": self._kind, "risk_level": level, "risk_type": kinds}


def _text(part: str | _Part, where: str) -> str:
    if isinstance(part, str):
        return part
    if part.type != "text":
        said = "is looked at alone: send it as the only input" if part.type == "image_url" else "is not looked at"
        raise FieldInvalid(f"{where}: {part.type!r} {said}", field=f"{where}.type")
    if part.text is None:
        raise FieldInvalid(f"{where}.text is required", field=f"{where}.text")
    return part.text
