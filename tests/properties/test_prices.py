"""Prices: no use within a worst case costs more than it, however many legs pay, and one price counts at a moment."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from openmaas.core.money import MILLION, WHOLE
from openmaas.core.terms import Band, Terms
from openmaas.core.usage import UNITS, Units, Usage
from openmaas.ledger.legs import rest_worst, split
from openmaas.ledger.prices import Price, PriceBook, check_terms

NANOS = st.integers(0, 10**11)
TOKENS = st.integers(0, 300_000)
FACTORS = st.sampled_from((WHOLE, WHOLE // 2, 3 * WHOLE, 333_333 * MILLION, 0))
PLACES = st.sets(st.tuples(st.sampled_from((0, 1, 32_000, 200_000)), st.sampled_from((0, 1, 200))), max_size=4)


@st.composite
def terms_drawn(draw: st.DrawFn) -> Terms:
    """Terms as an operator may set them."""
    bands = []
    for place in sorted(draw(PLACES) | {(0, 0)}):
        dear, cached = sorted((draw(NANOS), draw(NANOS)), reverse=True)
        bands.append(Band(dear, cached, draw(NANOS), draw(st.none() | NANOS), *place))
    made = Terms(tuple(bands), units=draw(st.dictionaries(st.sampled_from(UNITS), NANOS)))
    check_terms(made)
    return made


@st.composite
def uses_drawn(draw: st.DrawFn) -> tuple[int, int, Units, Usage]:
    """The most a request may use, and what it used."""
    prompt, output = draw(TOKENS), draw(TOKENS)
    used, answered = draw(st.integers(0, prompt)), draw(st.integers(0, output))
    units = draw(st.dictionaries(st.sampled_from(UNITS), st.integers(0, 3_000)))
    fewer = tuple((unit, draw(st.integers(0, most))) for unit, most in units.items())
    spent = Usage(used, answered, draw(st.integers(0, used)), draw(st.integers(0, answered)), units=fewer)
    return prompt, output, tuple(units.items()), spent


def held(worsts: list[int], free: list[int]) -> list[int]:
    """What is held of each source, as ``Purse.hold`` does: what it has, the rest from the next, the last one whole."""
    holds, part, whole = [], 1, 1
    for number, (worst, has) in enumerate(zip(worsts, free, strict=True), 1):
        need = rest_worst(worst, part, whole)
        got = need if number == len(worsts) else min(has, need)
        holds.append(got)
        if got == need:
            break
        part, whole = part * (need - got), whole * need
    return holds


@given(terms=terms_drawn(), use=uses_drawn(), factor=FACTORS)
def test_a_use_never_costs_more_than_its_worst_case(
    terms: Terms, use: tuple[int, int, Units, Usage], factor: int
) -> None:
    prompt, output, units, usage = use
    assert terms.charge(usage, factor) <= terms.worst(prompt, output, factor, units)


@given(
    legs=st.lists(st.tuples(terms_drawn(), FACTORS, st.fractions(0, 2)), min_size=1, max_size=4),
    use=uses_drawn(),
)
def test_what_was_held_on_all_legs_covers_every_smaller_use(
    legs: list[tuple[Terms, int, Fraction]], use: tuple[int, int, Units, Usage]
) -> None:
    prompt, output, units, usage = use
    worsts = [terms.worst(prompt, output, factor, units) for terms, factor, _ in legs]
    holds = held(worsts, [int(worst * share) for worst, (_, _, share) in zip(worsts, legs, strict=True)])
    costs = [terms.charge(usage, factor) for terms, factor, _ in legs[: len(holds)]]
    paid, excess = split(costs, holds)
    assert excess == 0
    assert all(0 <= amount <= hold for amount, hold in zip(paid, holds, strict=True))


@given(pairs=st.lists(st.tuples(NANOS, NANOS), min_size=1, max_size=5))
def test_a_leg_never_pays_more_than_was_held_on_it(pairs: list[tuple[int, int]]) -> None:
    costs, holds = [cost for cost, _ in pairs], [hold for _, hold in pairs]
    paid, excess = split(costs, holds)
    assert excess >= 0
    assert all(0 <= amount <= hold for amount, hold in zip(paid, holds, strict=True))


FEW = st.integers(0, 5)
ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from(("CNY", "USD", "credits")), st.sampled_from(("", "x", "y")), FEW, FEW
    ),
    max_size=12,
)


@given(
    rows=ROWS,
    ms=st.integers(-1, 8),
    currency=st.sampled_from(("CNY", "USD", "credits")),
    who=st.sampled_from(("", "x", "z")),
)
@example([("a", "CNY", "x", 0, 0), ("a", "CNY", "", 1, 0)], 2, "CNY", "x")  # a contract is older than the list
@example([("a", "CNY", "", 0, 2)], 2, "CNY", "")  # the first moment without a promotion
@example([("a", "CNY", "", 2, 0)], 2, "CNY", "")  # the first moment of a price
def test_the_price_that_counts_is_the_one_the_rule_names(
    rows: list[tuple[str, str, str, int, int]], ms: int, currency: str, who: str
) -> None:
    free = Terms((Band(0, 0, 0),))
    book = [
        Price(version, model, unit, owner, free, begin, begin + lasts if lasts else None, "")
        for version, (model, unit, owner, begin, lasts) in enumerate(rows, 1)
    ]
    found = [p for p in book if p.model == "a" and p.from_ms <= ms and (p.until_ms is None or ms < p.until_ms)]
    found = [p for p in found if p.organisation_id in ("", who)]
    found = [p for p in found if p.currency == currency]
    best = max(found, key=lambda p: (p.organisation_id != "", p.from_ms, p.version), default=None)
    assert PriceBook(book).at("a", ms, currency, who) == best
