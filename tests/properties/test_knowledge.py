"""Laws of cutting, of counting words, and of putting orders together."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.bounds import OVERLAP_SHARE, QUERY_TERMS_MAX, SENTENCE_SIZE_MAX, SENTENCE_SIZE_MIN
from openmaas.core.errors import EngineFailed, FieldInvalid, TooLarge
from openmaas.knowledge.cutting import WALLS, chunks, spans
from openmaas.knowledge.index import Index, Row
from openmaas.knowledge.ranking import fused
from openmaas.knowledge.reading import KINDS, docx, kind_of
from openmaas.knowledge.vectors import heard, packed
from openmaas.knowledge.words import folded, terms

WORDS = ["退货", "七天内可以退。", "运费？", "The relay answers. ", "a", "x" * 70, "、"]
PIECES = st.sampled_from([*WORDS, " ", "\n", "\n\n", "\n# ", "\f", "###", "。”"])
TEXTS = st.lists(PIECES, max_size=80).map("".join)
SIZES = st.integers(SENTENCE_SIZE_MIN, 200)
KINDS_OF_CUT = st.sampled_from(sorted(WALLS))
SEPARATORS = st.lists(st.sampled_from(["。", "###", "\n", "、", "nosuch", ""]), max_size=3)


@given(TEXTS, KINDS_OF_CUT, SEPARATORS, SIZES)
def test_chunks_in_order_cover_the_text_and_none_is_longer_than_its_bound(
    text: str, kind: int, separators: list[str], size: int
) -> None:
    cut = spans(text, kind, separators, size)
    assert [*"".join(text[begin:end] for begin, end in cut)] or not text
    edges = [(0, 0), *cut, (len(text), len(text))]
    for (begin, end), (after, behind) in pairwise(edges):
        assert begin <= after <= end <= behind
        assert end - after <= size // OVERLAP_SHARE
    assert all(0 < end - begin <= size for begin, end in cut)
    starts = [begin for begin, _ in cut]
    assert starts == sorted(set(starts))


@given(TEXTS, KINDS_OF_CUT, SIZES)
def test_a_chunk_never_goes_across_a_wall(text: str, kind: int, size: int) -> None:
    wall = WALLS[kind]
    ends = {found.end() for found in wall.finditer(text)} if wall else set()
    for begin, end in spans(text, kind, (), size):
        assert not any(begin < each < end for each in ends)


def test_a_chunk_ends_at_the_best_seam_and_the_next_begins_with_a_sentence_of_it() -> None:
    sentence = "这是一句话,它有二十个字左右,不多也不少。"
    cut = chunks(sentence * 30, 5, (), 200)
    assert all(each.endswith("。") and each.startswith("这是") for each in cut)
    assert len(cut) > 1
    assert chunks("甲###乙" + "丙" * 12 + "###" + "丁" * 15, 5, ["###"], 20)[0].endswith("###")
    rows = chunks("name: a; price: 1\nname: b; price: 2\n\n", 3, (), 300)
    assert rows == ["name: a; price: 1", "name: b; price: 2"]
    assert chunks("intro\n# One\ntext\n## Two\nmore", 1, (), 300) == ["intro", "# One\ntext", "## Two\nmore"]


@given(TEXTS)
def test_every_term_of_a_text_is_counted_in_it(text: str) -> None:
    there = folded(text)
    assert all(there.count(term) for term in terms(text))
    assert len(terms(text * 3)) <= QUERY_TERMS_MAX


def test_words_are_counted_whole_and_chinese_by_twos() -> None:
    assert terms("ＡＰＩ 限流, api!") == [" api ", "限流"]
    assert terms("运费谁") == ["运费", "费谁"]
    assert terms("猫") == ["猫"]
    assert folded("a cat; catalogue cat").count(" cat ") == 2
    assert folded("运,费").count("运费") == 0


@given(st.permutations(range(8)), st.permutations(range(8)), st.floats(0, 1))
def test_what_leads_both_orders_leads_the_fused_one(one: list[int], other: list[int], weight: float) -> None:
    found = fused([(weight, one), (1 - weight, other)])
    assert sorted(found) == list(range(8))
    if one[0] == other[0]:
        assert found[0] == one[0]
    assert fused([(1.0, one), (0.0, other)]) == one


def test_a_search_is_exact_and_leaves_out_what_has_nothing_of_the_question() -> None:
    rows = [
        Row("d1", "a.txt", 0, "退货政策:七天", packed([1.0, 0.0])),
        Row("d1", "a.txt", 1, "shipping costs", packed([0.0, 2.0])),
        Row("d2", "b.txt", 0, "退货 退货", packed([-1.0, 0.0])),
    ]
    index = Index(rows)
    near = index.similarities([0.0, 5.0])
    assert [round(float(each), 6) for each in near] == [0, 1, 0]
    assert index.best(near, 5, ()) == [1]
    said = index.relevances("退货")
    assert index.best(said, 5, ()) == [2, 0]
    assert index.best(said, 5, {"d1"}) == [0]
    assert all(0 <= each < 1 for each in said)
    assert Index([]).best(Index([]).similarities([1.0]), 5, ()) == []


def test_an_answer_that_is_no_list_of_vectors_is_the_engine_s_failure() -> None:
    good = b'{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}'
    assert heard(good, 2) == [[1.0, 2.0], [3.0, 4.0]]
    for bad in (b"{}", b'{"data":[]}', good.replace(b"3,4", b"3"), good.replace(b"1,2", b""), b"x"):
        with pytest.raises(EngineFailed):
            heard(bad, 2)
    with pytest.raises(EngineFailed):
        packed([1e300])


def word_file(path: Path, body: str, head: str = "") -> Path:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'{head}<w:document xmlns:w="{space}">{body}</w:document>')
    return path


def test_a_word_file_is_read_and_one_that_would_fill_the_memory_is_not(tmp_path: Path) -> None:
    title = '<w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>标题</w:t></w:r></w:p>'
    text = "<w:p><w:r><w:t>one</w:t><w:tab/><w:t>two</w:t></w:r></w:p>"
    assert docx(word_file(tmp_path / "a.docx", title + text)) == "## 标题\none two"
    with pytest.raises(TooLarge):
        docx(word_file(tmp_path / "bomb.docx", " " * (65 * 1024 * 1024)))
    with pytest.raises(FieldInvalid, match="entities"):
        docx(word_file(tmp_path / "laughs.docx", text, '<!DOCTYPE x [<!ENTITY a "b">]>'))
    (tmp_path / "no.docx").write_bytes(b"PK no zip")
    with pytest.raises(FieldInvalid):
        docx(tmp_path / "no.docx")


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("html", b"<h2>A</h2><script>no()</script><p>one <b>two</b>three</p>", "## A\n\none twothree"),
        ("csv", "名称,价格\n苹果,3\n\n梨,,x\n".encode("gb18030"), "名称: 苹果; 价格: 3\n名称: 梨; x"),
        ("json", '[{"q": "问"}, "b"]'.encode(), '{"q": "问"}\nb'),
        ("json", b'{"a": 1, "b": "c"}', "a: 1\nb: c"),
        ("txt", b"\xff\xfea\x00\r\x00\n\x00b\x00", "a\nb"),
        ("md", b"\xef\xbb\xbf# A", "# A"),
    ],
)
def test_each_kind_of_file_gives_its_text(tmp_path: Path, kind: str, content: bytes, told: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert KINDS[kind](tmp_path / "file") == told


def test_the_kind_of_a_file_is_the_end_of_its_name() -> None:
    assert kind_of("A.PDF") == "pdf"
    for name in ("a.exe", "pdf", "", "a.txt.zip"):
        with pytest.raises(FieldInvalid, match="no known kind"):
            kind_of(name)
    assert SENTENCE_SIZE_MIN < SENTENCE_SIZE_MAX
