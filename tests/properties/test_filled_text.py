"""The text of a choice, token by token: whatever the tokens, the stops and the blanks are, pieces make the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openmaas.engines.glm.text import Text

WORDS = st.text(st.sampled_from("ab春\U0001f40b�"), max_size=8)
STOPS = st.lists(st.text(st.sampled_from("ab春"), min_size=1, max_size=3), max_size=3)


def decode(tokens: list[int]) -> str:
    """Tokens are bytes."""
    return bytes(tokens).decode("utf-8", "replace")


def until(span: str, stops: list[str]) -> str:
    """``span`` as it is left by the stop sequence that is complete first; of several, by the one that begins first."""
    for end in range(1, len(span) + 1):
        if found := [at for stop in stops if (at := span[:end].find(stop)) >= 0]:
            return span[: min(found)]
    return span


@given(st.lists(WORDS, min_size=1, max_size=4), STOPS, st.data())
def test_pieces_are_the_whole_and_each_blank_ends_before_its_stop(
    spans: list[str], stops: list[str], data: st.DataObject
) -> None:
    between = [data.draw(WORDS) for _ in spans[1:]]
    text = Text(between, stops, decode)
    pieces = []
    for span in spans:
        for token in span.encode():
            if text.token(token):
                break
            pieces.append(text.take())
        text.end_blank()
    text.end()
    pieces.append(text.take())
    left = [until(span, stops) for span in spans]
    assert text.blanks == left
    assert "".join(pieces) == left[0] + "".join(gap + span for gap, span in zip(between, left[1:], strict=True))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_come_out_all_the_same(noise: bytes) -> None:
    text = Text([], [], decode)
    pieces = []
    for token in noise:
        text.token(token)
        pieces.append(text.take())
    text.end()
    pieces.append(text.take())
    said = "".join(pieces)
    assert said == text.blanks[0]
    assert said.replace("�", "") == decode(list(noise)).replace("�", "") or len(noise) >= 16


def test_what_may_begin_a_stop_sequence_is_held_back_until_it_is_known() -> None:
    text = Text([], ["abc"], decode)
    said = []
    for token in b"xabab":
        assert not text.token(token)
        said.append(text.take())
    assert said == ["x", "", "", "ab", ""]
    assert text.token(ord("c"))
    text.end()
    assert (text.take(), text.blanks) == ("", ["xab"])


def test_blanks_that_were_not_reached_are_empty_and_the_text_goes_to_the_last_of_them() -> None:
    text = Text([" one ", " two "], [], decode)
    text.token(ord("x"))
    text.end()
    assert (text.take(), text.blanks) == ("x one  two ", ["x", "", ""])
