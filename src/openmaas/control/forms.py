"""Reads a form with a file (``multipart/form-data``, RFC 7578) as it comes: the file goes to disk, fields are bounded.

Nothing is held but the end of what was read, which may be the beginning of a boundary. However the bytes are cut, the
same form comes out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from openmaas.core.bounds import (
    FILE_BYTES_MAX,
    FILENAME_BYTES_MAX,
    FORM_BYTES_MAX,
    FORM_FIELDS_MAX,
    FORM_HEAD_BYTES_MAX,
)
from openmaas.core.errors import FieldInvalid, TooLarge
from openmaas.files.depot import Draft

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*(;.*)$", re.IGNORECASE | re.MULTILINE)
_PARAMETER = re.compile(rb';\s*(name|filename)="((?:[^"\\]|\\.)*)"|;\s*(name|filename)=([^\s;"]+)', re.IGNORECASE)


class Form(msgspec.Struct):
    """What a form said. ``filename`` is None when no file came; ``lists`` has fields that are named ``name[]``."""

    fields: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    filename: str | None = None


class Reader:
    """Takes the bytes of one form: ``feed`` them all, then ``finish``. The part ``file_part`` goes into ``draft``."""

    def __init__(self, content_type: str, draft: Draft, file_part: str = "file") -> None:
        found = _BOUNDARY.search(content_type)
        if not content_type.lower().startswith("multipart/form-data") or found is None:
            raise FieldInvalid("the body must be multipart/form-data with a boundary", field="content-type")
        self.form = Form()
        self._draft = draft
        self._file_part = file_part
        self._count = 0
        self._mark = b"\r\n--" + (found[1] or found[2]).encode()
        self._rest = b"\r\n"  # so that the first boundary is like the others
        self._part: str | None = None  # the name of the part that is being read; None before, between and in heads
        self._inside = False
        self._heading = False
        self._ended = False
        self._value = b""
        self._skip = 0  # bytes of the part that are no content
        self._fields_bytes = 0

    def feed(self, block: bytes) -> None:
        """The next bytes. Raises ``FieldInvalid`` for what is no form, ``TooLarge``."""
        self._rest += block
        while not self._ended and self._step():
            pass

    def finish(self) -> Form:
        """The form. Raises ``FieldInvalid`` when it is cut off."""
        if not self._ended:
            raise FieldInvalid("the form is cut off: its last boundary is missing", field="body")
        return self.form

    def _step(self) -> bool:
        """Take in what is whole; False when more must come first."""
        if self._heading:
            return self._head()
        at = self._rest.find(self._mark)
        if at < 0:
            keep = len(self._mark) - 1
            self._content(self._rest[:-keep])
            self._rest = self._rest[-keep:]
            return False
        after = at + len(self._mark)
        if len(self._rest) < after + 2:
            self._content(self._rest[:at])
            self._rest = self._rest[at:]
            return False
        self._content(self._rest[:at])
        self._close()
        follows, self._rest = self._rest[after : after + 2], self._rest[after + 2 :]
        if follows == b"--":
            self._ended = True
        elif follows != b"\r\n":
            raise FieldInvalid("a boundary of the form is followed by other bytes", field="body")
        self._heading = True
        return True

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end > FORM_HEAD_BYTES_MAX or (end < 0 and len(self._rest) > FORM_HEAD_BYTES_MAX):
            raise TooLarge("the head of a part of the form is too long", field="body")
        if end < 0:
            return False
        head, self._rest = self._rest[:end], self._rest[end + 2 :]  # its line end may begin the next boundary
        found = _DISPOSITION.search(head)
        named = {}
        for one in _PARAMETER.finditer(found[1]) if found else ():
            name, value = (one[1], re.sub(rb"\\(.)", rb"\1", one[2])) if one[1] else (one[3], one[4])
            named[name.lower()] = value.decode("utf-8", "replace")
        if b"name" not in named:
            raise FieldInvalid("a part of the form has no name", field="body")
        self._begin(named[b"name"], named.get(b"filename"))
        return True

    def _begin(self, name: str, filename: str | None) -> None:
        self._heading, self._inside, self._part, self._value = False, True, name, b""
        self._skip = 2  # the empty line after the head
        if name == self._file_part:
            if filename is None or self.form.filename is not None:
                raise FieldInvalid(f"{name} must be one file with a name", field=name)
            self.form.filename = filename[-FILENAME_BYTES_MAX:]
            return
        self._count += 1
        if self._count > FORM_FIELDS_MAX:
            raise TooLarge(f"a form may have {FORM_FIELDS_MAX} fields", field="body")

    def _content(self, block: bytes) -> None:
        if not self._inside or not block:
            return
        skipped = min(self._skip, len(block))
        self._skip -= skipped
        block = block[skipped:]
        if self._part == self._file_part:
            if self._draft.size_bytes + len(block) > FILE_BYTES_MAX:
                raise TooLarge(f"a file may have {FILE_BYTES_MAX} bytes", field=self._part)
            self._draft.write(block)
        else:
            self._fields_bytes += len(block)
            if self._fields_bytes > FORM_BYTES_MAX:
                raise TooLarge(f"the fields of a form may have {FORM_BYTES_MAX} bytes", field="body")
            self._value += block

    def _close(self) -> None:
        if self._inside and self._part is not None and self._part != self._file_part:
            value = self._value.decode("utf-8", "replace")
            if self._part.endswith("[]"):
                self.form.lists.setdefault(self._part[:-2], []).append(value)
            else:
                self.form.fields[self._part] = value
        self._inside = False


async def read_form(content_type: str, stream: AsyncIterator[bytes], draft: Draft, file_part: str = "file") -> Form:
    """The form in ``stream``. Raises ``FieldInvalid``, ``TooLarge``, ``StoreFailed``."""
    reader = Reader(content_type, draft, file_part)
    async for block in stream:
        reader.feed(block)
    return reader.finish()
