"""Content blocks of the Anthropic wire as parts of a conversation.

A block that can be said to an engine becomes a part; what is only for Anthropic's own servers (files, PDFs, results of
tools that run there) is refused by name, for leaving it out would change what was asked.
"""

from __future__ import annotations

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.dialects.anthropic.tools import Change
from openmaas.dialects.conversation import Call, Json, Media, Result, Text, Thought
from openmaas.dialects.dialect import Signet

#: What a thought is signed for.
PURPOSE = "thought"
_NULL = msgspec.Raw(b"null")


class Source(msgspec.Struct):
    """Where the content of an image or a document is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Block] | None = None


class Block(msgspec.Struct):
    """Any content block: the members of all of those that are read."""

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    content: str | list[Block] | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Json = _NULL
    tool_use_id: str | None = None
    is_error: bool | None = None
    tool_name: str | None = None
    tool: Change | None = None


def listed(content: str | list[Block] | None) -> list[Block]:
    """Content that is words alone, as the block that it stands for."""
    if isinstance(content, str):
        return [Block("text", text=content)] if content else []
    return content or []


def shown(content: str | list[Block] | None, where: str) -> tuple[Text | Media, ...]:
    """What a person or a tool says. Raises ``FieldInvalid``."""
    return tuple(part for at, block in enumerate(listed(content)) for part in parts(block, f"{where}.{at}"))


def parts(block: Block, where: str) -> tuple[Text | Media, ...]:
    """One block of it: text, a picture, a document, a search result. Raises ``FieldInvalid``."""
    match block.type:
        case "text":
            return (Text(block.text),) if block.text else ()
        case "image":
            return (_image(block.source, where),)
        case "document":
            return _document(block, where)
        case "search_result":
            words = [part.text for part in shown(block.content, f"{where}.content") if isinstance(part, Text)]
            return (Text("\n".join(filter(None, [block.title, str(block.source or ""), *words]))),)
        case "tool_reference":  # of a tool search that the client ran: the tool itself is declared with the rest
            return (Text(f"The tool {block.tool_name} is available."),)
    raise FieldInvalid(f"{where}.type: {block.type!r} is not a content block this server reads", field=f"{where}.type")


def _image(source: Source | str | None, where: str) -> Media:
    if isinstance(source, Source):
        if source.type == "base64" and source.data is not None:
            return Media("image", f"data:{source.media_type or 'image/png'};base64,{source.data}")
        if source.type == "url" and source.url:
            return Media("image", source.url)
    raise _no_source(source, where, "base64 or url")


def _document(block: Block, where: str) -> tuple[Text | Media, ...]:
    """Its words, after its title. PDFs and files are not read here."""
    source = block.source
    head = tuple(Text(told) for told in (block.title, block.context) if told)
    if isinstance(source, Source):
        if source.type == "text" and source.data is not None:
            return (*head, Text(source.data))
        if source.type == "content":
            return (*head, *shown(source.content, f"{where}.source.content"))
    raise _no_source(source, where, "text or content")


def _no_source(source: Source | str | None, where: str, known: str) -> FieldInvalid:
    told = source.type if isinstance(source, Source) else "nothing"
    field = f"{where}.source.type"
    return FieldInvalid(f"{field}: {told!r} is not read by this server; send {known}", field=field)


def result(block: Block, where: str) -> Result:
    """A ``tool_result``. Raises ``FieldInvalid``."""
    if not block.tool_use_id:
        raise FieldInvalid(f"{where}.tool_use_id: it is required", field=f"{where}.tool_use_id")
    return Result(block.tool_use_id, shown(block.content, f"{where}.content"), bool(block.is_error))


def call(block: Block, where: str) -> Call:
    """A ``tool_use``. Raises ``FieldInvalid``."""
    if not block.id or not block.name:
        missing = "id" if not block.id else "name"
        raise FieldInvalid(f"{where}.{missing}: it is required", field=f"{where}.{missing}")
    return Call(block.id, block.name, bytes(block.input).decode() if block.input != _NULL else "{}")


def thought(block: Block, signet: Signet) -> Thought | None:
    """A ``thinking`` block that is ours, or None.

    A thought stands in the prompt as the model's own, so only what our signature vouches for goes there. One that is
    not ours is left out and never an error: a conversation that was begun with another vendor, or before the master
    key lost a version, must go on. One that the caller wanted omitted is sealed in its signature.
    """
    text, signature = block.thinking or "", block.signature or ""
    if not text:
        text = signet.open(signature, PURPOSE) or ""
        return Thought(text) if text else None
    return Thought(text) if signet.verify(text, PURPOSE, signature) else None
