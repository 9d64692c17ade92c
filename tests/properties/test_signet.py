"""What callers carry for us is known again by every node, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.identity.seal import MasterKeys
from openmaas.identity.signet import Signet


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signet, Signet, Path]:
    """Two nodes with the same master keys."""
    path = tmp_path_factory.mktemp("keys") / "master.json"
    return Signet(MasterKeys(path)), Signet(MasterKeys(path)), path


@given(text=st.text(), other=st.text())
def test_a_signature_is_known_by_another_node_and_of_its_text_alone(
    nodes: tuple[Signet, Signet, Path], text: str, other: str
) -> None:
    one, two, _ = nodes
    signature = one.sign(text, "thought")
    assert two.verify(text, "thought", signature)
    assert not two.verify(text, "other", signature)
    assert two.verify(other, "thought", signature) == (other == text)


@given(text=st.text())
def test_what_is_sealed_opens_at_another_node_for_its_purpose_alone(
    nodes: tuple[Signet, Signet, Path], text: str
) -> None:
    one, two, _ = nodes
    sealed = one.seal(text, "reasoning")
    assert two.open(sealed, "reasoning") == text
    assert two.open(sealed, "thought") is None


@given(sent=st.text() | st.binary().map(lambda junk: junk.hex()))
def test_junk_is_no_signature_and_opens_nothing(nodes: tuple[Signet, Signet, Path], sent: str) -> None:
    one, _, _ = nodes
    assert not one.verify("text", "thought", sent)
    assert one.open(sent, "thought") is None


def test_what_an_old_version_of_the_master_key_signed_is_known_after_a_rotation(
    nodes: tuple[Signet, Signet, Path],
) -> None:
    one, two, path = nodes
    signature = one.sign("text", "thought")
    MasterKeys(path).add_version()
    assert two.verify("text", "thought", signature)
    assert two.verify("text", "thought", one.sign("text", "thought"))
