"""A token is who signed it, for as long as it says and no longer than a day; nothing else is anybody."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from openmaas.core.clock import Clock
from openmaas.core.errors import KeyMalformed, KeyRevoked, KeyUnknown, NotRecognised, TokenExpired
from openmaas.identity.book import add_key, add_organisation, add_project, revoke_key
from openmaas.identity.face import Caller, Keys
from openmaas.identity.seal import MasterKeys
from openmaas.store.changes import Follower
from openmaas.store.database import Database
from servers import new_database
from tokens import encoded, token

NOW_S = 1_795_000_000


class Keyring:
    """A relay's keys, and one key."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(wall_ms=lambda: NOW_S * 1000, mono_s=lambda: 0.0)
        self.database: Database = new_database("sqlite", folder)
        master = MasterKeys(folder / "master.keys")
        project = self.database.call(lambda tx: add_project(tx, self.clock, add_organisation(tx, self.clock, "o"), "p"))
        made = self.database.call(add_key, self.clock, master, project, "k", scopes=["inference"])
        self.key_id, self.text = made
        self.follower = Follower(self.database, self.clock)
        self.keys = Keys(self.database, self.follower, self.clock, master)
        asyncio.run(self.follower.start())

    def recognise(self, sent: str) -> Caller:
        return asyncio.run(self.keys.recognise(sent.encode()))


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyring]:
    made = Keyring(tmp_path_factory.mktemp("ring"))
    yield made
    made.database.close()


@given(seconds=st.integers(-(10**6), 10**6), unit=st.sampled_from([1, 1000]), bearer=st.sampled_from(["", "Bearer "]))
def test_a_token_is_its_key_for_as_long_as_it_says_and_at_most_a_day(
    ring: Keyring, seconds: int, unit: int, bearer: str
) -> None:
    sent = bearer + token(ring.text, seconds, unit=unit, now_s=NOW_S)
    if seconds > 24 * 3600:
        with pytest.raises(KeyMalformed):
            ring.recognise(sent)
    elif seconds <= 0:
        with pytest.raises(TokenExpired):
            ring.recognise(sent)
    else:
        assert ring.recognise(sent).key_id == ring.key_id


@given(at=st.integers(0, 400), letter=st.characters(min_codepoint=33, max_codepoint=255))
def test_a_token_with_one_letter_changed_is_nobody_s(ring: Keyring, at: int, letter: str) -> None:
    right = token(ring.text, now_s=NOW_S)
    at %= len(right)
    assume(right[at] != letter)
    with pytest.raises(NotRecognised):
        asyncio.run(ring.keys.recognise(b"Bearer " + (right[:at] + letter + right[at + 1 :]).encode("latin-1")))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_whatever_is_sent_is_refused_as_a_credential(ring: Keyring, sent: str) -> None:
    for text in (sent, f"a.{sent}", f"{sent}.b.c"):
        with pytest.raises(NotRecognised):
            ring.recognise(text)


@pytest.mark.parametrize("algorithm", ["none", "HS512", "RS256", "hs256", None, 1])
def test_a_token_of_another_algorithm_is_refused(ring: Keyring, algorithm: object) -> None:
    with pytest.raises(KeyMalformed):
        ring.recognise(token(ring.text, now_s=NOW_S, alg=algorithm))


@pytest.mark.parametrize("claims", [{}, {"exp": 1e300}, {"exp": "soon"}, {"exp": True}, [], {"exp": None}])
def test_a_token_without_an_end_is_refused(ring: Keyring, claims: object) -> None:
    head = encoded(b'{"alg":"HS256"}')
    told = claims if isinstance(claims, list) else {"api_key": ring.key_id, **claims}  # type: ignore[dict-item]
    with pytest.raises(KeyMalformed):
        ring.recognise(f"{head}.{encoded(json.dumps(told).encode())}.{encoded(b'x' * 32)}")


def test_a_token_of_another_secret_or_an_unknown_key_is_nobody_s(ring: Keyring) -> None:
    for key in (f"{ring.key_id}.wrong", "nosuch.secret"):
        with pytest.raises(KeyUnknown):
            ring.recognise(token(key, now_s=NOW_S))


def test_a_signature_is_read_in_one_spelling_only(ring: Keyring) -> None:
    """The last letter of 32 bytes in base64 has two bits that say nothing."""
    right = token(ring.text, now_s=NOW_S)
    raw = base64.urlsafe_b64decode(right.rpartition(".")[2] + "=")
    same = [right[:-1] + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    same = [t for t in same if t != right and base64.urlsafe_b64decode(t.rpartition(".")[2] + "=") == raw]
    assert same
    for spelling in same:
        with pytest.raises(KeyUnknown):
            ring.recognise(spelling)


def test_a_revoked_key_s_tokens_are_refused_once_the_change_is_heard(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    sent = token(ring.text, now_s=NOW_S)
    assert ring.recognise(sent).key_id == ring.recognise(ring.text).key_id == ring.key_id
    ring.database.call(revoke_key, ring.clock, ring.key_id)
    asyncio.run(ring.follower.step())
    for text in (sent, ring.text):
        with pytest.raises(KeyRevoked):
            ring.recognise(text)
    ring.database.close()
