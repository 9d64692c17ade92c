"""An invoice as PDF (A4), by fpdf2 and with Noto Sans SC inside the file: it shows the same on every machine. What that
font cannot write (Korean, Thai, Arabic, emoji …) is refused, not left out: HTML shows all of it.

Both come with the extra ``documents``. The same invoice gives the same bytes with the same versions of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openmaas.core.bounds import LETTERS_NAMED_MAX
from openmaas.core.errors import Conflict, ExtraMissing
from openmaas.core.invoice import Invoice
from openmaas.documents.page import Page, page_of

if TYPE_CHECKING:
    from fpdf import FPDF

_FONT = "Noto Sans SC"
_WIDTHS = (25, 10, 14, 15, 14, 13, 11)  # shares of the line, one a column
_GREY, _BLACK = 110, 0


def render_pdf(invoice: Invoice) -> bytes:
    """The whole document. Raises ``ExtraMissing`` where the extra is not installed, ``Conflict`` for letters that the
    font lacks."""
    try:
        from fpdf import FPDF  # noqa: PLC0415 - an optional extra
        from pylopdf_fonts_zh_cn import sans_path  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ExtraMissing("PDF needs the extra `documents`; run: make setup-documents") from None
    page, paper = page_of(invoice), FPDF(format="A4")
    paper.set_creation_date(datetime.fromtimestamp(invoice.issued_ms / 1000, UTC))
    paper.set_title(f"{page.title} {invoice.number}")
    paper.set_lang(page.language)
    paper.set_margins(18, 18)
    paper.set_auto_page_break(True, 18)
    paper.add_font(_FONT, fname=sans_path())
    paper.add_page()
    paper.set_font(_FONT, size=20)
    _check_letters(paper, page)
    _line(paper, page.title, 14)
    _facts(paper, page)
    _parties(paper, page)
    _table(paper, page)
    _sums(paper, page.sums)
    paper.ln(4)
    _sums(paper, page.balance)
    paper.ln(4)
    _colour(paper, _GREY)
    for note in page.notes:
        paper.multi_cell(0, 5, note, new_x="LMARGIN", new_y="NEXT")
    return bytes(paper.output())


def _check_letters(paper: FPDF, page: Page) -> None:
    from fpdf.fonts import TTFFont  # noqa: PLC0415 - an optional extra

    font = paper.current_font
    assert isinstance(font, TTFFont), "it was added from a file"
    pairs = (page.facts, page.sums, page.balance, page.rows, ((page.title, *page.columns, *page.notes),))
    parties = (text for label, lines in page.parties for text in (label, *lines))
    letters = {
        letter for text in (*parties, *(text for rows in pairs for row in rows for text in row)) for letter in text
    }
    missing = sorted(letter for letter in letters if ord(letter) not in font.cmap)
    if missing:
        font.ttfont.close()  # who writes the document to its end has it closed by that
        shown = "".join(missing[:LETTERS_NAMED_MAX])
        raise Conflict(
            f"the font of PDFs lacks these letters of the invoice: {shown}; take it as HTML", field="invoice_id"
        )


def _facts(paper: FPDF, page: Page) -> None:
    for label, text in page.facts:
        _colour(paper, _GREY)
        paper.cell(35, 5.5, label)
        _colour(paper, _BLACK)
        _line(paper, text, 5.5)
    paper.ln(5)


def _parties(paper: FPDF, page: Page) -> None:
    """Beside each other; the next thing begins below the longer one."""
    top, lowest, width = paper.get_y(), 0.0, paper.epw / 2 - 4
    for number, (label, lines) in enumerate(page.parties):
        left = paper.l_margin + number * (paper.epw / 2 + 4)
        paper.set_xy(left, top)
        _colour(paper, _GREY)
        paper.multi_cell(width, 5.5, label, new_x="LEFT", new_y="NEXT")
        _colour(paper, _BLACK)
        for line in lines:
            paper.multi_cell(width, 5.5, line, align="L", new_x="LEFT", new_y="NEXT")
        lowest = max(lowest, paper.get_y())
    paper.set_xy(paper.l_margin, lowest + 6)


def _table(paper: FPDF, page: Page) -> None:
    aligned = ("LEFT", *["RIGHT"] * (len(page.columns) - 1))
    _colour(paper, _BLACK)
    with paper.table(
        col_widths=_WIDTHS,
        text_align=aligned,
        borders_layout="HORIZONTAL_LINES",
        line_height=6,
        headings_style=_plain(),
    ) as table:
        for cells in (page.columns, *page.rows):
            table.row(cells)
    paper.ln(4)


def _sums(paper: FPDF, pairs: tuple[tuple[str, str], ...]) -> None:
    for label, amount in pairs:
        paper.set_x(paper.l_margin + paper.epw / 2)
        paper.multi_cell(paper.epw / 3, 6, label, align="L", new_x="RIGHT", new_y="LAST")
        paper.cell(paper.epw / 6, 6, amount, align="R", new_x="LMARGIN", new_y="NEXT")


def _plain() -> object:
    from fpdf.fonts import FontFace  # noqa: PLC0415 - an optional extra

    return FontFace(color=_GREY)  # the font has one weight


def _line(paper: FPDF, text: str, height_mm: float) -> None:
    paper.cell(0, height_mm, text, new_x="LMARGIN", new_y="NEXT")


def _colour(paper: FPDF, grey: int) -> None:
    paper.set_font(_FONT, size=10)
    paper.set_text_color(grey)
