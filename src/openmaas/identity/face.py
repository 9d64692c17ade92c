"""Recognises a caller from the key they send. Used by the relay and the control plane.

A key is looked up once and remembered until the change sequence says it changed, so the common case touches no
database: one dictionary, one hash, one constant-time comparison.
"""

from __future__ import annotations

import hmac
from typing import TypeVar

import msgspec

from openmaas.core.bounds import KEYS_CACHED_MAX, TEXT_BYTES_MAX, UNKNOWN_KEYS_CACHED_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import KeyExpired, KeyMissing, KeyRevoked, KeyUnknown, ScopeMissing, StaleView
from openmaas.identity.book import KeyRecord, find_key, hash_secret
from openmaas.store.changes import Follower
from openmaas.store.database import Database

V = TypeVar("V")
_NOBODY = bytes(32)  #: compared with when the id is unknown, so that both ways take the same time


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who is calling, and what they may do. ``models`` is None when every model is allowed."""

    key_id: str
    project_id: str
    organisation_id: str
    scopes: frozenset[str]
    models: frozenset[str] | None

    def need(self, scope: str) -> None:
        """Raises ``ScopeMissing`` unless the key has ``scope``."""
        if scope not in self.scopes:
            raise ScopeMissing(f"this needs the scope {scope!r}")


class Keys:
    """The keys this process remembers."""

    def __init__(self, database: Database, follower: Follower, clock: Clock) -> None:
        self._database = database
        self._follower = follower
        self._clock = clock
        self._known: dict[str, tuple[KeyRecord, Caller]] = {}
        self._unknown: dict[str, None] = {}
        self._forgotten = 0  # counts forgets, so that a read begun before one is not remembered after it
        follower.on("key", self._forget)

    async def recognise(self, authorization: bytes | None, api_key: bytes | None = None) -> Caller:
        """The caller behind ``Authorization: Bearer id.secret`` (or ``x-api-key``).

        Raises ``KeyMissing``, ``KeyUnknown``, ``KeyExpired``, ``KeyRevoked``, and ``StaleView`` when the view of the
        keys is older than ``STALE_AFTER_S``.
        """
        key_id, secret = _split(authorization, api_key)
        if self._follower.stale:
            raise StaleView
        found = self._known.get(key_id) or await self._look_up(key_id)
        right = hmac.compare_digest(hash_secret(secret), found[0].secret_hash if found else _NOBODY)
        if found is None or not right:
            raise KeyUnknown
        record, caller = found
        if record.revoked_ms is not None:
            raise KeyRevoked
        if record.expires_ms is not None and record.expires_ms <= self._clock.wall_ms():
            raise KeyExpired
        return caller

    async def _look_up(self, key_id: str) -> tuple[KeyRecord, Caller] | None:
        if key_id in self._unknown:
            return None
        forgotten = self._forgotten
        record = await self._database.read(find_key, key_id)
        if record is None:
            if forgotten == self._forgotten:
                _remember(self._unknown, key_id, None, UNKNOWN_KEYS_CACHED_MAX)
            return None
        caller = Caller(record.id, record.project_id, record.organisation_id, record.scopes, record.models)
        if forgotten == self._forgotten:
            _remember(self._known, key_id, (record, caller), KEYS_CACHED_MAX)
        return record, caller

    def _forget(self, key_id: str) -> None:
        self._forgotten += 1
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)


def _split(authorization: bytes | None, api_key: bytes | None) -> tuple[str, str]:
    sent = api_key
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise KeyUnknown("the Authorization header must be of the form Bearer <id>.<secret>")
        sent = token.strip()
    if not sent:
        raise KeyMissing
    key_id, dot, secret = sent.decode("latin-1").partition(".")
    if not dot or not secret or len(sent) > TEXT_BYTES_MAX:
        raise KeyUnknown("it must be of the form <id>.<secret>")
    return key_id, secret


def _remember(cache: dict[str, V], key: str, value: V, most: int) -> None:
    if len(cache) >= most:
        cache.pop(next(iter(cache)))
    cache[key] = value
