"""Corpora: archives known by their digest, documents cleaned, each text once, nothing held out that is trained on."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.data import archives, cleaning, corpora, prepare, splitting
from openglm.errors import Refused

POEM = {"title": "靜夜思（一作夜思）", "paragraphs": ["牀前看月光,疑是地上霜。", "舉頭望山月，　低頭思故鄉。"]}


def tarball(folder: Path, files: dict[str, bytes]) -> tuple[Path, str]:
    """An archive as npm leaves it, and its digest."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(body.getvalue()).hexdigest()
    place = folder / f"poems-1.0-{digest[:16]}"
    place.write_bytes(body.getvalue())
    return place, digest


def many_poems(count: int) -> list[dict[str, object]]:
    first = [chr(0x4E00 + i) for i in range(4000)]
    lines = [
        ["".join(first[(37 * i + 11 * j + k * k) % 4000] for j in range(7)) + "。" for k in range(4)]
        for i in range(count)
    ]
    return [{"title": f"{first[i]}詩", "paragraphs": part} for i, part in enumerate(lines)]


def test_every_corpus_says_what_it_is_and_under_which_licence() -> None:
    known = corpora.catalogue()
    assert {"chinese-poetry", "python-library", "python-docs"} <= set(known)
    for corpus in known.values():
        assert corpus.licence
        assert corpus.about
        assert corpus.source.startswith("https://")
        assert corpus.clean in cleaning.CLEANERS
        assert 0 < corpus.held_out_permille < 100
        if corpus.client != "python":
            assert corpus.client in archives.FETCHES
            assert len(corpus.sha256) == 64
            assert corpus.version


def test_an_archive_is_read_by_its_members_and_nothing_is_unpacked(tmp_path: Path) -> None:
    place, digest = tarball(
        tmp_path,
        {"package/a/poet.json": json.dumps([POEM]).encode(), "package/../../x.json": b"[]", "package/b.js": b""},
    )
    assert archives.fetch("npm", "poems", "1.0", digest, tmp_path) == place
    read = dict(archives.members("npm", place, ["package/a/*.json"]))
    assert list(read) == ["package/a/poet.json"]
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_a_changed_archive_is_refused(tmp_path: Path) -> None:
    place, digest = tarball(tmp_path, {"package/a.json": b"[]"})
    place.write_bytes(place.read_bytes() + b"x")
    with pytest.raises(Refused, match=f"its SHA-256 is .* not {digest}"):
        archives.fetch("npm", "poems", "1.0", digest, tmp_path)


def test_a_client_that_fails_or_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('no such version {package}')")
    monkeypatch.setitem(archives.FETCHES, "npm", command)
    with pytest.raises(Refused, match=r"poems: .* failed and said: no such version poems"):
        archives.fetch("npm", "poems", "1.0", "0" * 64, tmp_path)
    monkeypatch.setitem(archives.FETCHES, "npm", ("no-such-client",))
    with pytest.raises(Refused, match="no-such-client is not installed"):
        archives.fetch("npm", "poems", "1.0", "0" * 64, tmp_path)
    monkeypatch.setitem(archives.FETCHES, "npm", (sys.executable, "-c", "open('poems.tgz', 'w').write('other')"))
    with pytest.raises(Refused, match="look at it before you pin it"):
        archives.fetch("npm", "poems", "1.0", "0" * 64, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages of Debian want dpkg-deb")
def test_a_debian_package_is_read_without_being_installed(tmp_path: Path) -> None:
    (tmp_path / "deb/DEBIAN").mkdir(parents=True)
    (tmp_path / "deb/usr/share/doc").mkdir(parents=True)
    (tmp_path / "deb/DEBIAN/control").write_text(
        "Package: corpus\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: a corpus\n"
    )
    (tmp_path / "deb/usr/share/doc/page.rst").write_text("A page.\n")
    subprocess.run(
        ["dpkg-deb", "--build", str(tmp_path / "deb"), str(tmp_path / "c.deb")], check=True, capture_output=True
    )
    read = list(archives.members("apt", tmp_path / "c.deb", ["./usr/share/doc/*.rst"]))
    assert read == [("./usr/share/doc/page.rst", b"A page.\n")]


def test_poems_keep_title_and_lines_and_lose_notes_spaces_and_foreign_punctuation() -> None:
    assert list(cleaning.poems("", json.dumps([POEM]).encode())) == [
        "靜夜思\n牀前看月光，疑是地上霜。\n舉頭望山月，低頭思故鄉。"
    ]


@pytest.mark.parametrize(
    "line", ["冰□已鏤津，淺綠柳輕春。", "短。", "ABC春眠不覺曉，處處聞啼鳥。", "？？？？？？？？？？"]
)
def test_poems_that_nobody_can_read_are_left_out(line: str) -> None:
    assert list(cleaning.poems("", json.dumps([{"title": "x", "paragraphs": [line]}]).encode())) == []


def test_chapters_are_found_wherever_they_stand() -> None:
    tree = {"title": "t", "content": [{"chapter": "c", "paragraphs": ["子曰：學而時習之，", "不亦說乎？"]}]}
    assert list(cleaning.classics("", json.dumps(tree).encode())) == ["子曰：學而時習之，\n不亦說乎？"]


def test_modules_are_kept_and_tests_tables_and_other_encodings_are_not() -> None:
    assert list(cleaning.python("ast.py", b"x = 1  \n\n")) == ["x = 1\n"]
    for name in ("test/test_ast.py", "json/tests/a.py", "encodings/cp037.py", "lib2to3/x.py"):
        assert list(cleaning.python(name, b"x = 1\n")) == []
    assert list(cleaning.python("a.py", b"# \xe4\n")) == []
    assert list(cleaning.python("a.py", b"x = 1\n" * 50_000)) == []


def test_entries_of_a_dictionary_lose_their_layout() -> None:
    body = (
        "00-database-info\n   not an entry, though it is long enough to be one, and longer than sixty letters\n\n"
        'Benefit \\Ben"e*fit\\, n.\n   1. An act of kindness; a favor\n      conferred.\n      [1913 Webster]\n\n'
        "   2. Profit. See {Bounty}, and {Fact}, which are other words.\n      [1913 Webster +PJC]\n\nShort \\x\\\n"
    )
    assert list(cleaning.dictionary("", gzip.compress(body.encode()))) == [
        'Benefit \\Ben"e*fit\\, n. 1. An act of kindness; a favor conferred.\n'
        "2. Profit. See Bounty, and Fact, which are other words."
    ]


@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=30), max_size=60))
def test_each_text_is_on_one_side_once_and_stays_there_when_the_corpus_grows(texts: list[str]) -> None:
    found = splitting.split((text, 300) for text in texts)
    kept = found.train + found.held_out
    letters = [tuple(splitting.units(text)) for text in kept]
    assert len(set(letters)) == len(letters)
    assert len(kept) + found.repeated + found.leaked == len(texts)
    grown = splitting.split((text, 300) for text in [*texts, "something else entirely, and new"])
    assert found.train == grown.train[: len(found.train)]
    assert set(grown.held_out) - {"something else entirely, and new"} <= set(found.held_out)


def test_the_same_text_in_other_punctuation_counts_once() -> None:
    found = splitting.split(
        (text, 0) for text in ("牀前看月光，疑是地上霜。", "牀前看月光 疑是地上霜", "Ａ b", "a  B!")
    )
    assert len(found.train) == 2
    assert found.repeated == 2


def test_what_is_held_out_shares_no_line_with_what_is_trained_on() -> None:
    rare = [f"word{i} " * 3 + " ".join(f"w{i}x{j}" for j in range(30)) for i in range(200)]
    alone = splitting.split((text, 100) for text in rare)
    assert alone.leaked == 0
    assert 5 < len(alone.held_out) < 50
    victim = alone.held_out[0]
    again = splitting.split([*((text, 100) for text in rare), (victim + " in another edition", 0)])
    assert victim not in again.held_out
    assert again.leaked == 1
    assert again.held_out == alone.held_out[1:]


def test_prepared_corpora_are_opened_the_second_time_and_never_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, digest = tarball(tmp_path, {"package/poet.json": json.dumps(many_poems(400)).encode()})
    known = corpora.catalogue()["chinese-poetry"]
    small = replace(known, package="poems", version="1.0", sha256=digest, members=("package/*.json",))
    monkeypatch.setattr(corpora, "catalogue", lambda: {"poems": small})
    said: list[str] = []
    made = prepare.prepare(
        ["poems"], tmp_path / "into", kind="characters", size=600, archive_folder=place.parent, tell=said.append
    )
    assert len(made.train) + len(made.held_out) == 400
    assert made.train.vocabulary == len(made.tokenizer) == 600
    first = made.tokenizer.decode(made.train.piece(0)[:-1].tolist())
    assert first in set(small.documents(place.parent))
    assert any("held out" in line for line in said)
    place.unlink()
    again = prepare.prepare(["poems"], tmp_path / "into", kind="characters", size=600, archive_folder=place.parent)
    assert again.train.source == made.train.source
    with pytest.raises(Refused, match="into: it was prepared from"):
        prepare.prepare(["poems"], tmp_path / "into", kind="bpe", size=600)
    with pytest.raises(Refused, match="corpus: there is no prose"):
        prepare.prepare(["prose"], tmp_path / "other", kind="bpe", size=600)
    with pytest.raises(Refused, match="kind: there is no words"):
        prepare.prepare(["poems"], tmp_path / "other", kind="words", size=600)
