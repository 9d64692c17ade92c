"""An invoice says how many calls, images and other units a line is, on each database, in each language and form."""

from __future__ import annotations

import msgspec
import pypdfium2
import pytest

from office import MILLI, Office
from openmaas.core.invoice import Invoice
from openmaas.core.usage import UNITS, Usage
from openmaas.documents.html import render_html
from openmaas.documents.page import page_of
from openmaas.documents.pdf import render_pdf
from openmaas.documents.words import WORDS
from openmaas.ledger.selling.payers import Payer, set_payer


def november(office: Office) -> Invoice:
    """A month with tokens, units of several kinds, purchases and credit notes; prices hold for calls alone."""
    office.database.call(set_payer, Payer(organisation_id="org", currency="CNY", zone="Asia/Shanghai"))
    office.now_ms = office.at("2026-11-01T00:00")
    office.used("2026-11-02T00:00", Usage(1_000, 500))
    for calls in (1, 1, 2_000):
        office.used("2026-11-03T00:00", Usage(units=(("call", calls),)))
    office.used("2026-11-04T00:00", Usage(100, units=(("image", 1), ("call", 3))))
    for _ in range(2):
        office.move("purchase", -1_000 * MILLI, "资源包")
    office.move("credit_note", 500 * MILLI)
    office.go("2026-12-01T01:00")
    office.issue("2026-10")
    (made,) = office.issue("2026-11")
    return made


@pytest.mark.parametrize(
    ("language", "units"),
    [("zh", ("2,005 次，1 张", "2 件", "1 笔")), ("en", ("2,005 calls, 1 image", "2 items", "1 note"))],
)
def test_each_line_has_its_quantities_with_their_units(office: Office, language: str, units: tuple[str, ...]) -> None:
    made = november(office)
    assert made.lines[0].requests == 5
    assert made.lines[0].amount_nanos == 1_100_000 + 500 * 2_000 + 2_005 * 3_000
    assert made.lines[0].units == (("call", 2_005), ("image", 1))
    made = msgspec.convert(msgspec.to_builtins(made) | {"language": language}, Invoice)
    page = page_of(made)
    assert (page.columns[-2], [row[-2] for row in page.rows]) == (WORDS[made.language]["units"], [*units])
    html = render_html(made)
    shown = pypdfium2.PdfDocument(render_pdf(made))[0].get_textpage().get_text_range().replace("\r\n", " ")
    for text in units:
        assert f"<td>{text}</td>" in html
        assert text in shown


def test_every_unit_has_a_word_in_every_language() -> None:
    for words in WORDS.values():
        assert all(words[f"unit_{unit}"].count("|") == 1 for unit in (*UNITS, "purchase", "credit_note"))


def test_an_invoice_that_was_kept_before_units_were_said_is_still_read(office: Office) -> None:
    made = november(office)
    kept = msgspec.to_builtins(made)
    for line in kept["lines"]:
        line.pop("units", None)
    assert [row[-2] for row in page_of(msgspec.convert(kept, Invoice)).rows] == ["", "", ""]
