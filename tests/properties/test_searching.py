"""Word lists and indexes: whatever is written is found by every part of it, and nothing else is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.bounds import SNIPPET_LENGTH
from openmaas.core.clock import Clock
from openmaas.engines.search.folder import Folder
from openmaas.engines.search.query import Query
from openmaas.engines.search.text import passages, terms, words
from openmaas.engines.words import read_words

LETTERS = "退款政策茶炸药"
wide = st.text(LETTERS, min_size=1, max_size=12)
latin = st.text("abz09", min_size=1, max_size=4)


@given(text=wide, at=st.integers(0, 11), length=st.integers(1, 12))
def test_every_part_of_a_chinese_text_is_looked_for_by_words_that_the_text_has(text: str, at: int, length: int) -> None:
    part = text[at % len(text) :][:length]
    indexed = words(f"See {text}, please")
    for term in terms(part):
        assert term in indexed or (len(term) == 1 and any(word.startswith(term) for word in indexed))


@given(texts=st.lists(st.tuples(wide, latin), min_size=1, max_size=4), query=wide)
def test_a_folder_finds_the_files_that_share_a_pair_of_letters_and_no_others(
    texts: list[tuple[str, str]], query: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        for number, (chinese, english) in enumerate(texts):
            Path(name, f"{number}.txt").write_text(f"x\n{chinese} {english}", "utf-8")
        folder = Folder({"folder": name}, Clock())
        folder.open()
        found = {row.link for row in folder.find(Query(search_query=query))}
        pairs = {query[at : at + 2] for at in range(max(len(query) - 1, 1))}
        assert found == {f"{at}.txt" for at, (text, _) in enumerate(texts) if any(pair in text for pair in pairs)}
        folder.close()


@given(st.text(max_size=2_000))
def test_passages_leave_nothing_out_and_none_is_too_long(text: str) -> None:
    pieces = list(passages(text))
    assert all(0 < len(piece) <= SNIPPET_LENGTH for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(
    listed=st.lists(wide | latin, min_size=1, max_size=5),
    text=st.lists(wide | latin | st.sampled_from([" ", "!", "\u200b"]), max_size=8).map("".join),
)
def test_a_word_is_found_wherever_it_stands_and_latin_only_where_it_stands_alone(listed: list[str], text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "words.txt")
        path.write_text("".join(f"[c{at}]\n{word}\n" for at, word in enumerate(listed)), "utf-8")
        found = read_words(path).found(text.upper())
    seen = text.replace("\u200b", "")
    for at, word in enumerate(listed):
        places = [begin for begin in range(len(seen)) if seen.startswith(word, begin)]
        alone = any(_alone(seen, begin, begin + len(word), word) for begin in places)
        assert (f"c{at}" in found) == alone


def _alone(text: str, begin: int, end: int, word: str) -> bool:
    before, after = text[begin - 1 : begin], text[end : end + 1]
    return not (
        (word[0].isascii() and before.isalnum() and before.isascii())
        or (word[-1].isascii() and after.isalnum() and after.isascii())
    )
