"""The text of a document, found by a program of its own: ``python -m openmaas.knowledge.reading KIND PATH``.

A stranger's file is unfolded there under bounds of time and memory, so that what is made to never end or to fill a
machine ends with the program, and costs its document alone. It prints the text, or says why there is none and ends
with status 1.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from openmaas.core.bounds import (
    DOCX_XML_BYTES_MAX,
    KNOWLEDGE_READ_MEMORY_BYTES,
    KNOWLEDGE_READ_S,
    KNOWLEDGE_WORDS_MAX,
)
from openmaas.core.errors import ExtraMissing, FieldInvalid, OpenmaasError, TooLarge

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "header", "hr", "li"}
    | {"main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul"}
)
_SPACES = re.compile(r"\s+")
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_SILENT = frozenset({"script", "style", "template", "noscript", "svg"})


async def text_of(kind: str, path: Path) -> str:
    """The text of a file. Raises ``FieldInvalid`` with what the reading program said, ``TooLarge``."""
    command = (sys.executable, "-m", __name__, kind, str(path))
    reader = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(KNOWLEDGE_READ_S):
            told, _ = await reader.communicate()
    except TimeoutError:
        raise FieldInvalid(f"the file takes more than {KNOWLEDGE_READ_S:.0f} s to read", field="file") from None
    finally:
        if reader.returncode is None:
            reader.kill()
            await reader.wait()
    text = told.decode("utf-8", "replace")
    if reader.returncode == 1 and text:
        raise FieldInvalid(text, field="file")
    if reader.returncode:
        raise FieldInvalid("the file is damaged, or needs too much memory to be read", field="file")
    if len(text) > KNOWLEDGE_WORDS_MAX:
        raise TooLarge(f"the text of a document may have {KNOWLEDGE_WORDS_MAX} characters", field="file")
    return text


def plain(path: Path) -> str:
    """Text as it is: UTF-8, or UTF-16 with its mark, or GB 18030, in which older Chinese files are."""
    content = path.read_bytes()
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030"):
        try:
            return "\n".join(content.decode(encoding).splitlines())
        except UnicodeDecodeError:
            continue
    raise FieldInvalid("the file is not text in UTF-8, UTF-16 or GB 18030", field="file")


class _Page(HTMLParser):
    """What a page shows; a heading is marked as Markdown does it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._silent += tag in _SILENT
        if tag in _HEADINGS:
            self.said.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in _BLOCKS:
            self.said.append("\n")
        elif tag in ("td", "th"):
            self.said.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in _BLOCKS or tag in _HEADINGS:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.said.append(_SPACES.sub(" ", data))


def html(path: Path) -> str:
    """What a page shows, without its markup."""
    page = _Page()
    page.feed(plain(path))
    page.close()
    return "".join(page.said).strip()


def table(path: Path) -> str:
    """One line a row of a CSV file, each cell behind the name of its column."""
    csv.field_size_limit(KNOWLEDGE_WORDS_MAX)
    rows = csv.reader(io.StringIO(plain(path)))
    try:
        names = next(rows, [])
        lines = [_row(names, row) for row in rows if any(row)]
    except csv.Error as error:
        raise FieldInvalid(f"the file is no CSV: {error}", field="file") from None
    return "\n".join(lines or [" ".join(names)])


def _row(names: list[str], cells: list[str]) -> str:
    named = [f"{name}: {cell}" for name, cell in zip(names, cells, strict=False) if cell]
    return " ".join("; ".join([*named, *cells[len(names) :]]).split())


def data(path: Path) -> str:
    """One line a member of a JSON object or list."""
    try:
        told: Any = json.loads(plain(path))
    except (ValueError, RecursionError) as error:
        raise FieldInvalid(f"the file is no JSON: {error}", field="file") from None
    if isinstance(told, dict):
        return "\n".join(f"{name}: {_said(value)}" for name, value in told.items())
    return "\n".join(map(_said, told)) if isinstance(told, list) else _said(told)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pdf(path: Path) -> str:
    """The text of every page, a form feed between two. Raises ``ExtraMissing``."""
    try:
        from pypdf import PdfReader  # noqa: PLC0415 - an optional extra
        from pypdf.errors import PyPdfError  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ExtraMissing("PDF needs the extra `knowledge`; run: make setup-knowledge") from None
    try:
        file = PdfReader(path)
        if file.is_encrypted and not file.decrypt(""):
            raise FieldInvalid("the file has a password", field="file")
        pages = [page.extract_text() for page in file.pages]
    except PyPdfError as error:
        raise FieldInvalid(f"the file is no PDF that can be read: {error}", field="file") from None
    if not any(map(str.strip, pages)):
        raise FieldInvalid("the file has pictures of pages and no text; send what they say as text", field="file")
    return "\f".join(pages)


def docx(path: Path) -> str:
    """The paragraphs of a Word file; a heading is marked as Markdown does it."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("word/document.xml") as member:
            content = member.read(DOCX_XML_BYTES_MAX + 1)
        if len(content) > DOCX_XML_BYTES_MAX:
            raise TooLarge(f"a docx may unfold to {DOCX_XML_BYTES_MAX} bytes", field="file")
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # no Word file declares any; expansion needs them
            raise FieldInvalid("the file declares entities", field="file")
        root = ElementTree.fromstring(content)  # noqa: S314 - without entities there is nothing to expand
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, NotImplementedError, RuntimeError) as error:
        raise FieldInvalid(f"the file is no docx that can be read: {error}", field="file") from None
    return "\n".join(map(_paragraph, root.iter(f"{_WORD}p")))


def _paragraph(element: ElementTree.Element) -> str:
    style = element.find(f"{_WORD}pPr/{_WORD}pStyle")
    name = "" if style is None else style.get(f"{_WORD}val", "")
    level = name.removeprefix("Heading").strip() if name.startswith("Heading") else ""
    mark = "#" * min(int(level), 6) + " " if level.isdecimal() and int(level) else ""
    return mark + "".join(_runs(element))


def _runs(element: ElementTree.Element) -> Iterator[str]:
    for part in element.iter():
        if part.tag == f"{_WORD}t":
            yield part.text or ""
        elif part.tag in (f"{_WORD}tab", f"{_WORD}br"):
            yield " "


#: How each kind of file is read, by the end of its name.
KINDS: dict[str, Callable[[Path], str]] = {
    "txt": plain,
    "md": plain,
    "markdown": plain,
    "html": html,
    "htm": html,
    "csv": table,
    "json": data,
    "jsonl": plain,
    "pdf": pdf,
    "docx": docx,
}


def kind_of(filename: str) -> str:
    """The kind of a file by its name. Raises ``FieldInvalid``."""
    _, dot, kind = filename.lower().rpartition(".")
    if not dot or kind not in KINDS or not filename.isprintable():
        raise FieldInvalid(f"{filename!r} is of no known kind; send one of {', '.join(KINDS)}", field="file")
    return kind


def main(kind: str, path: str) -> int:
    """Print the text of one file."""
    resource.setrlimit(resource.RLIMIT_AS, (KNOWLEDGE_READ_MEMORY_BYTES,) * 2)
    try:
        told, status = KINDS[kind](Path(path)), 0
    except OpenmaasError as error:
        told, status = error.detail, 1
    written = told[: KNOWLEDGE_WORDS_MAX + 1].replace("\0", " ")  # no database keeps it in a text
    sys.stdout.buffer.write(written.encode("utf-8", "replace"))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
