"""Rows that come and go: each is filled as it would be alone, whoever is beside it and whenever it came."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch

from openglm.errors import Refused
from openglm.models.classic import Classic
from openglm.models.infill import Marks, infill, sampled
from openglm.models.rows import Rows, Seat, chooser
from small_classics import GLM, built, each

MASK, GMASK, SOP, EOP, EOS = 1, 2, 4, 5, 6
MARKS = Marks(blanks=frozenset({MASK, GMASK}), gmask=GMASK, sop=SOP, stops=frozenset({EOP, EOS}))
PROMPTS = [[11, MASK, 13, 14, MASK, 16], [MASK, 12], [21, 22, 23, GMASK], [7, MASK, 8, 9]]
ROOM = 20


def played(model: Classic, turns: list[list[int]], *, waits: Collection[int] = ()) -> list[list[list[int]]]:
    """What fills each prompt when those of ``turns[t]`` join before step t, in four places; one of ``waits`` takes part
    in every other step only."""
    rows = Rows(model, MARKS, count=4, capacity=ROOM)
    seats: dict[Seat, int] = {}
    filled: list[list[list[int]]] = [[[] for token in prompt if token in MARKS.blanks] for prompt in PROMPTS]
    step = 0
    while step < len(turns) or seats:
        for number in turns[step] if step < len(turns) else ():
            (seat,) = rows.join(PROMPTS[number], [None])
            seats[seat] = number
        named = [seat for seat, number in seats.items() if number not in waits or step % 2]
        for seat, blank, token in rows.step(named) if named else ():
            if token is not None:
                filled[seats[seat]][blank].append(token)
            if seat.row.done or seat.length == ROOM:
                del seats[seat]
                rows.leave(seat)
        step += 1
    assert rows.free == 4
    return filled


@each
@pytest.mark.parametrize(
    ("turns", "waits"),
    [([[0, 1, 2, 3]], set()), ([[2], [0], [], [1, 3]], set()), ([[3, 2, 1, 0]], {3, 1}), ([[1], [3], [0, 2]], {0})],
)
def test_each_row_is_filled_as_alone_whoever_joins_leaves_or_waits_beside_it(
    config: Any, turns: list[list[int]], waits: set[int]
) -> None:
    model = built(config)
    alone = [played(model, [[number]])[number] for number in range(4)]
    assert played(model, turns, waits=waits) == alone
    assert any(span for spans in alone for span in spans)


@each
def test_a_row_is_what_filling_in_one_go_makes_of_it(config: Any) -> None:
    model = built(config)
    for number, prompt in enumerate(PROMPTS):
        filled = played(model, [[number]])[number]
        spans = infill(model, [prompt], MARKS, span_max=18)[0]
        assert filled[0] == spans[0][: len(filled[0])] != []


def test_choices_of_one_prompt_read_it_once_and_follow_each_its_own_seed() -> None:
    model = built(GLM)
    read: list[int] = []
    original = model.hidden

    def noted(*arguments: Any) -> Any:
        read.append(arguments[0].shape[1])
        return original(*arguments)

    model.hidden = noted  # type: ignore[method-assign]
    rows = Rows(model, MARKS, count=3, capacity=ROOM)
    seats = rows.join(PROMPTS[3], [chooser(1.0, 1.0, seed) for seed in (1, 2, 1)], endless=True)
    assert read == [4]
    spans: dict[Seat, list[int | None]] = {seat: [] for seat in seats}
    for _ in range(12):
        for seat, _, token in rows.step(seats):
            spans[seat].append(token)
    first, second, again = spans.values()
    assert first == again != second
    assert None not in first + second  # endless: nothing ends a span
    assert [seat.tokens for seat in seats] == [12, 12, 12]


def test_a_span_can_be_ended_from_outside() -> None:
    rows = Rows(built(GLM), MARKS, count=1, capacity=ROOM)
    (seat,) = rows.join(PROMPTS[0], [None], endless=True)
    assert rows.step([seat])[0][1] == 0
    rows.end_span(seat)
    assert rows.step([seat])[0][1] == 1
    rows.end_span(seat)
    assert seat.row.done


def test_cold_choosing_is_greedy_and_what_is_no_temperature_is_refused() -> None:
    assert chooser(0, 1.0, 1) is chooser(1.0, 0, 1) is chooser(1e-9, 0.5, None) is None
    logits = torch.tensor([[2.0, 1.9, 1.8, -3.0]]).expand(50, 4)
    drawn = chooser(1.0, 0.6, 3)
    assert drawn is not None
    assert torch.equal(drawn(logits), sampled(1.0, 0.6, torch.Generator().manual_seed(3))(logits))
    unseeded = {tuple(choose(logits).tolist()) for _ in range(5) if (choose := chooser(1.0, 1.0, None))}
    assert len(unseeded) > 1
    with pytest.raises(Refused, match="temperature=-1"):
        chooser(-1, 1.0, 1)


def test_what_cannot_join_is_refused() -> None:
    rows = Rows(built(GLM), MARKS, count=1, capacity=ROOM)
    with pytest.raises(Refused, match="prompt: 2 tokens with 0 blanks"):
        rows.join([11, 12], [None])
    with pytest.raises(Refused, match="less than 20 tokens"):
        rows.join([MASK] * 20, [None])
    assert rows.free == 1
    with pytest.raises(Refused, match="capacity: 22 tokens, and the model has 21 positions"):
        Rows(built(GLM), MARKS, count=1, capacity=22)
