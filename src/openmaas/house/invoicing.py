"""Invoices on their day: who issues them, as the settings say, and the round that issues what is due."""

from __future__ import annotations

import logging

from openmaas.core.bounds import INVOICE_CHORE_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import Refused
from openmaas.core.invoice import Issuer, Party
from openmaas.documents.html import render_html
from openmaas.house.settings import Settings
from openmaas.identity.book import organisation_name
from openmaas.ledger.papers.invoicing import due, issue
from openmaas.store.database import Database

log = logging.getLogger(__name__)


def issuer_of(settings: Settings) -> Issuer:
    """The operator as its invoices name it."""
    party = Party(settings.issuer_name, settings.issuer_address, settings.issuer_tax_id)
    return Issuer(settings.invoice_prefix, party)


def issue_due(database: Database, clock: Clock, issuer: Issuer) -> bool:
    """Issue the next month of organisations that have one; True when there may be more. What is refused for one does
    not stop the others, however many are refused."""
    after = ""
    while found := database.look(due, clock, INVOICE_CHORE_MAX, after):
        issued = [_issue(database, clock, issuer, *each) for each in found]
        if any(issued):
            return True
        after = found[-1][0]
    return False


def _issue(database: Database, clock: Clock, issuer: Issuer, organisation_id: str, period: str) -> bool:
    try:
        name = database.look(organisation_name, organisation_id)
        made = database.call(issue, clock, organisation_id, period, name=name, issuer=issuer, render=render_html)
    except Refused as error:
        log.error("the invoice of %s for %s cannot be issued: %s", organisation_id, period, error.message)
        return False
    log.info("%s: %d invoices of %s issued", organisation_id, len(made), period)
    return bool(made)
