"""Documents round, and lose nothing: whatever the amounts, what is shown and what is carried on are the exact sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.invoice import Tax
from openmaas.core.money import Rounding, minor_decimals, show_minor
from openmaas.ledger.papers.invoicing import taxed
from openmaas.ledger.selling.payers import Payer

NANOS = st.integers(-(10**15), 10**15)


@given(st.sampled_from(["CNY", "JPY", "KWD"]), st.lists(st.lists(NANOS, max_size=6), max_size=6))
def test_documents_that_follow_each_other_add_up_to_the_ledger(currency: str, documents: list[list[int]]) -> None:
    unit, carry, shown_sum = 10 ** (9 - minor_decimals(currency)), 0, 0
    for lines in documents:
        rounding = Rounding(currency, carry)
        for exact in lines:
            shown = rounding.show(exact)
            assert abs(shown * unit - exact) <= unit
            shown_sum += shown
        carry = rounding.carry_nanos
        assert -unit <= 2 * carry <= unit
    assert shown_sum * unit + carry == sum(exact for lines in documents for exact in lines)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), max_size=4), st.booleans())
def test_net_and_taxes_are_the_total(billed: int, rates: list[int], inclusive: bool) -> None:
    taxes = tuple(Tax(str(number), rate) for number, rate in enumerate(rates))
    net, lines, total = taxed(billed, Payer(organisation_id="org", taxes=taxes, tax_inclusive=inclusive))
    assert net + sum(line.amount_minor for line in lines) == total
    assert (total if inclusive else net) == billed
    for line in lines:  # within one unit of its rate of the exact net amount
        whole = 10**6 + sum(rates) if inclusive else 10**6
        assert abs(line.amount_minor * whole - billed * line.rate_ppm) <= whole


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123456789, "CNY", "1,234,567.89"),
        (-5, "CNY", "-0.05"),
        (1234, "JPY", "1,234"),
        (1, "KWD", "0.001"),
        (0, "USD", "0.00"),
    ],
)
def test_an_amount_is_shown_in_what_can_be_paid(minor: int, currency: str, shown: str) -> None:
    assert show_minor(minor, currency) == shown
