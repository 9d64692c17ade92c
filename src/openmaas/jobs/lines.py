"""Reads the input of a batch: what each line asks, and what is wrong with it.

An input is read line by line and never held whole: of each line its name and its place in the file stay in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from openmaas.core.bounds import BATCH_EMBEDDINGS_MAX, BATCH_LINES_MAX, BATCH_MISTAKES_MAX, CUSTOM_ID_BYTES_MAX
from openmaas.work.wanted import BatchWanted, Mistake, kind_of


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line: its number (from 1), its name, where it stands in the file."""

    number: int
    custom_id: str
    offset: int
    size_bytes: int


class Asked(msgspec.Struct):
    """What a line says. Zhipu and OpenAI call what is asked ``body``, Anthropic ``params``."""

    custom_id: str = ""
    method: str = "POST"
    url: str = ""
    body: msgspec.Raw = msgspec.Raw(b"")
    params: msgspec.Raw = msgspec.Raw(b"")

    @property
    def request(self) -> msgspec.Raw:
        """The body of the request."""
        return self.body or self.params


class _Body(msgspec.Struct):
    stream: bool | None = None


_line = msgspec.json.Decoder(Asked)
_body = msgspec.json.Decoder(_Body)


def read_lines(path: Path, wanted: BatchWanted) -> tuple[list[Line], list[Mistake]]:
    """All lines, and the first ``BATCH_MISTAKES_MAX`` mistakes; with a mistake nothing of the input is to be asked."""
    lines: list[Line] = []
    mistakes: list[Mistake] = []
    seen: set[str] = set()
    embeddings = kind_of(wanted.endpoint) == "embeddings"
    most = BATCH_EMBEDDINGS_MAX if embeddings and wanted.form == "zhipu" else BATCH_LINES_MAX
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            at, offset = offset, offset + len(raw)
            if not raw.strip():
                continue
            if len(lines) == most:
                mistakes.append(Mistake("too_many_lines", f"a batch may have {most} lines", line=number))
                break
            found = _read(raw, number, wanted, seen)
            if isinstance(found, Mistake):
                mistakes.append(found)
                if len(mistakes) == BATCH_MISTAKES_MAX:
                    break
            else:
                seen.add(found)
                lines.append(Line(number, found, at, len(raw)))
    if not lines and not mistakes:
        mistakes.append(Mistake("empty_file", "the input has no lines"))
    return lines, mistakes


def request_of(file: BinaryIO, line: Line) -> bytes:
    """The body of a line's request, as the customer wrote it."""
    file.seek(line.offset)
    return bytes(_line.decode(file.read(line.size_bytes)).request)


def _read(raw: bytes, number: int, wanted: BatchWanted, seen: set[str]) -> str | Mistake:
    """The line's name, or what is wrong with it."""
    try:
        asked = _line.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Mistake("invalid_json_line", f"the line is not a JSON object as it must be: {error}", line=number)
    name = asked.custom_id
    if not 0 < len(name.encode()) <= CUSTOM_ID_BYTES_MAX:
        said = f"custom_id must have 1 to {CUSTOM_ID_BYTES_MAX} bytes"
        return Mistake("invalid_custom_id", said, "custom_id", number)
    if name in seen:
        return Mistake("duplicate_custom_id", f"custom_id {name!r} stands on an earlier line, too", "custom_id", number)
    if asked.method != "POST":
        return Mistake("invalid_method", "method must be POST", "method", number)
    if wanted.form != "anthropic" and kind_of(asked.url) != kind_of(wanted.endpoint):
        return Mistake("invalid_url", f"url must be the endpoint of the batch, {wanted.endpoint}", "url", number)
    field = "params" if wanted.form == "anthropic" else "body"
    if not bytes(asked.request).startswith(b"{"):
        return Mistake("invalid_body", f"{field} must be an object", field, number)
    try:
        streams = _body.decode(asked.request).stream
    except msgspec.MsgspecError as error:
        return Mistake("invalid_body", str(error), field, number)
    if streams:
        return Mistake("stream_unsupported", "a batch cannot stream", f"{field}.stream", number)
    return name
