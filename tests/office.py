"""An office: a desk whose clock is held, and that issues invoices in Chinese or English."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from desk import Desk
from openmaas.core.clock import Clock
from openmaas.core.invoice import Invoice, Issuer, Party
from openmaas.core.usage import Usage
from openmaas.documents.html import render_html
from openmaas.ledger.book import own_id, transfer, wallet_id
from openmaas.ledger.papers.invoicing import due, issue
from servers import new_database

ISSUER = Issuer("ZP", Party("智算云科技有限公司", "北京市海淀区中关村大街 1 号", "91110108MA00000000"))
MILLI = 10**6  # nano-units


class Office(Desk):
    """A desk whose clock is held: times are said in Shanghai's."""

    def __init__(self, folder: Path, store: str) -> None:
        self.now_ms = self.at("2026-10-20T00:00")
        clock = Clock(wall_ms=lambda: self.now_ms, mono_s=lambda: self.now_ms / 1000)
        super().__init__(folder, new_database(store, folder.parent), clock)
        self.journal = self.relay("life")
        self.numbers = iter(range(1, 1000))
        self.move("refund", 120_005 * MILLI - 10**15)  # of what a desk begins with, 120.005 CNY stay

    @staticmethod
    def at(moment: str) -> int:
        return round(datetime.fromisoformat(f"{moment}+08:00").timestamp() * 1000)

    def go(self, moment: str) -> None:
        """Go on to a moment, and post everything."""
        self.now_ms = self.at(moment)
        self.poster.step()

    def used(self, moment: str, usage: Usage) -> None:
        """A request that was opened at ``moment``."""
        self.now_ms = max(self.now_ms, self.at(moment))
        self.run(self.journal, f"req_{next(self.numbers):03}", usage, self.at(moment))
        self.poster.step()

    def move(self, kind: str, nanos: int, memo: str = "", currency: str = "CNY", organisation: str = "org") -> None:
        """Into the wallet, or out of it when below 0."""
        other = "funding" if kind in ("topup", "refund") else "revenue"
        ours, theirs = wallet_id(organisation, currency), own_id(other, currency)
        pair = (theirs, ours) if nanos > 0 else (ours, theirs)
        fields = dict(zip(("debit", "credit"), pair, strict=True))
        key = f"test:{next(self.numbers)}"
        self.database.call(
            transfer, self.clock, request_key=key, kind=kind, amount_nanos=abs(nanos), memo=memo, **fields
        )

    def issue(self, period: str, organisation: str = "org", issuer: Issuer = ISSUER) -> list[Invoice]:
        fields: dict[str, Any] = {"name": "某公司", "issuer": issuer, "render": render_html}
        return self.database.call(issue, self.clock, organisation, period, **fields)

    def due(self, limit: int = 10) -> list[tuple[str, str]]:
        return self.database.look(due, self.clock, limit)
