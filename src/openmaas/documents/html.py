"""An invoice as one HTML file that needs nothing else: no script, no picture, no font from elsewhere.

Written by hand: one page of one kind is no reason for a template engine in every installation.
"""

from __future__ import annotations

from html import escape

from openmaas.core.invoice import Invoice
from openmaas.documents.page import Page, page_of

_STYLE = """
body{font:14px/1.5 "Noto Sans SC","PingFang SC","Microsoft YaHei",sans-serif;max-width:52em;margin:3em auto;color:#111}
h1{font-size:1.8em;margin:0 0 1em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1.5em;margin:0 0 2em}dt{color:#666}dd{margin:0}
.parties{display:grid;grid-template-columns:1fr 1fr;gap:2em;margin-bottom:2em}h2{font-size:1em;color:#666;margin:0}
p{margin:0}table{border-collapse:collapse;width:100%;margin-bottom:1.5em}
th,td{text-align:right;padding:.3em .4em;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}th{color:#666;font-weight:normal}
.sums{width:auto;margin-left:auto}.total td{font-weight:bold;border-bottom:2px solid #111}
footer{color:#666;font-size:.9em}@media print{body{margin:0}}
"""


def render_html(invoice: Invoice) -> str:
    """The whole document."""
    page = page_of(invoice)
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in page.facts)
    parties = "".join(
        f"<div><h2>{escape(label)}</h2>{''.join(f'<p>{escape(line)}</p>' for line in lines)}</div>"
        for label, lines in page.parties
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in page.notes)
    title = f"{page.title} {invoice.number}"
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">\n<head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(page.title)}</h1>\n<dl>{facts}</dl>\n"
        f'<div class="parties">{parties}</div>\n{_lines(page)}\n{_sums(page.sums, total=True)}\n'
        f"{_sums(page.balance, total=False)}\n<footer>{notes}</footer>\n</body>\n</html>\n"
    )


def _lines(page: Page) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in page.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in page.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _sums(pairs: tuple[tuple[str, str], ...], *, total: bool) -> str:
    rows = [f"<td>{escape(label)}</td><td>{escape(amount)}</td>" for label, amount in pairs]
    marked = [f'<tr class="total">{row}</tr>' if total and row is rows[-1] else f"<tr>{row}</tr>" for row in rows]
    return f'<table class="sums">{"".join(marked)}</table>'
