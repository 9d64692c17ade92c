"""A form with a file comes out the same however its bytes are cut, and what is no form is refused, not believed."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.control.forms import Form, Reader
from openmaas.core.errors import Refused
from openmaas.files.depot import Draft

BOUNDARY = b"--=_b0und"
#: Bytes that look like a boundary as far as they can.
TRICKY = st.lists(st.sampled_from([b"\r\n", b"--", b"\r", b"\n", BOUNDARY, BOUNDARY[:5], b"x", b"\x00"]), max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1, max_size=8)


def written(fields: dict[str, str], filename: str, content: bytes) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    head = f'content-disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
    parts.insert(len(parts) // 2, head.encode() + content)
    return b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY, part) for part in parts) + b"--%b--\r\n" % BOUNDARY


def read(pieces: list[bytes]) -> tuple[Form, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        draft = Draft(Path(folder) / "draft")
        reader = Reader(f'multipart/form-data; boundary="{BOUNDARY.decode()}"', draft)
        try:
            for piece in pieces:
                reader.feed(piece)
            form = reader.finish()
        finally:
            draft.close()
        return form, draft.path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(
    fields=st.dictionaries(TEXTS.filter(lambda name: name != "file" and not name.endswith("[]")), TEXTS, max_size=3),
    filename=TEXTS,
    content=TRICKY.map(b"".join).filter(lambda text: b"\r\n--" + BOUNDARY not in b"\r\n" + text),
    cuts=st.lists(st.integers(0, 600), max_size=20),
)
def test_however_it_is_cut_the_same_form_comes_out(
    fields: dict[str, str], filename: str, content: bytes, cuts: list[int]
) -> None:
    whole = written(fields, filename, content)
    at = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    form, found = read([whole[a:b] for a, b in itertools.pairwise(at)])
    assert (form.fields, form.filename, found) == (fields, filename, content)


def test_a_field_that_is_named_as_a_list_keeps_all_that_came() -> None:
    parts = [b'Content-Disposition: form-data; name="a[]"\r\n\r\n' + value for value in (b"1", b"", b"2")]
    form, _ = read([b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY, part) for part in parts) + b"--%b--" % BOUNDARY])
    assert (form.fields, form.lists) == ({}, {"a": ["1", "", "2"]})


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | TRICKY.map(b"".join))
def test_what_is_no_form_is_refused_or_empty(noise: bytes) -> None:
    try:
        form, found = read([noise])
    except Refused:
        return
    assert (form.fields, form.filename, found) == ({}, None, b"")
