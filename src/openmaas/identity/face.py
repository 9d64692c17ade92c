"""Recognises a caller from the key they send. Used by the relay and the control plane.

A key is looked up once and remembered until the change sequence says it changed, so the common case touches no
database: one dictionary, one hash, one constant-time comparison. A key may also come as a token that it signed; its
opened secret is then remembered beside its record, and forgotten with it.
"""

from __future__ import annotations

import hmac
import logging
from typing import TypeVar

import msgspec

from openmaas.core.bounds import CREDENTIAL_BYTES_MAX, KEYS_CACHED_MAX, UNKNOWN_KEYS_CACHED_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import (
    Internal,
    KeyExpired,
    KeyMalformed,
    KeyMissing,
    KeyRevoked,
    KeyUnknown,
    ScopeMissing,
    SettingInvalid,
    StaleView,
)
from openmaas.identity.behalf import PREFIX, read
from openmaas.identity.book import KeyRecord, find_key, hash_secret, open_secret
from openmaas.identity.seal import MasterKeys
from openmaas.identity.token import read_token
from openmaas.store.changes import EVERYTHING, Follower
from openmaas.store.database import Database

log = logging.getLogger(__name__)

V = TypeVar("V")
_NOBODY = bytes(32)  #: compared with when the id is unknown, so that both ways take the same time


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who is calling, and what they may do. ``models`` is None when every model is allowed. ``job_id`` is the job, or
    the request, that calls for them (``core/parents.py``), with its class of prices; empty when they call
    themselves."""

    key_id: str
    project_id: str
    organisation_id: str
    scopes: frozenset[str]
    models: frozenset[str] | None
    job_id: str = ""
    price_class: str = ""

    def need(self, scope: str) -> None:
        """Raises ``ScopeMissing`` unless the key has ``scope``."""
        if scope not in self.scopes:
            raise ScopeMissing(f"this needs the scope {scope!r}")


class Keys:
    """The keys this process remembers."""

    def __init__(self, database: Database, follower: Follower, clock: Clock, master: MasterKeys) -> None:
        self._database = database
        self._follower = follower
        self._clock = clock
        self._master = master
        self._known: dict[str, tuple[KeyRecord, Caller]] = {}
        self._unknown: dict[str, None] = {}
        self._secrets: dict[str, bytes] = {}  # of keys that came as tokens
        self._forgotten = 0  # counts forgets, so that a read begun before one is not remembered after it
        follower.on("key", self._forget)

    async def recognise(self, authorization: bytes | None, api_key: bytes | None = None) -> Caller:
        """The caller behind ``Authorization`` (or ``x-api-key``): ``id.secret``, or a token that the key signed, with
        the word ``Bearer`` before it or without.

        Raises ``KeyMissing``, ``KeyMalformed``, ``KeyUnknown``, ``KeyExpired``, ``TokenExpired``, ``KeyRevoked``, and
        ``StaleView`` when the view of the keys is older than ``STALE_AFTER_S``.
        """
        key_id, secret = _split(authorization, api_key)
        if self._follower.stale:
            raise StaleView
        found = self._known.get(key_id)
        if found is None:
            if key_id == PREFIX:
                return await self._on_behalf(secret)
            if "." in secret:  # no key has a second dot, and no id looks like the head of a token
                return await self._recognise_token(f"{key_id}.{secret}")
            found = await self._look_up(key_id)
        right = hmac.compare_digest(hash_secret(secret), found[0].secret_hash if found else _NOBODY)
        if found is None or not right:
            raise KeyUnknown
        return self._lives(*found)

    async def _on_behalf(self, told: str) -> Caller:
        who = read(self._master, told, self._clock.wall_ms())
        found = self._known.get(who.key_id) or await self._look_up(who.key_id)
        if found is None:
            raise KeyUnknown
        caller = self._lives(*found)
        assert (caller.organisation_id, caller.project_id) == (who.organisation_id, who.project_id)
        return msgspec.structs.replace(
            caller, scopes=caller.scopes & {"inference"}, job_id=who.job_id, price_class=who.price_class
        )

    async def _recognise_token(self, sent: str) -> Caller:
        token = read_token(sent, self._clock.wall_ms())
        found = self._known.get(token.key_id) or await self._look_up(token.key_id)
        secret = await self._secret(token.key_id) if found else None
        token.check(secret or _NOBODY, self._clock.wall_ms())
        if found is None or secret is None:
            raise KeyUnknown
        return self._lives(*found)

    def _lives(self, record: KeyRecord, caller: Caller) -> Caller:
        if record.revoked_ms is not None:
            raise KeyRevoked
        if record.expires_ms is not None and record.expires_ms <= self._clock.wall_ms():
            raise KeyExpired
        return caller

    async def _secret(self, key_id: str) -> bytes | None:
        secret = self._secrets.get(key_id)
        if secret is None:
            forgotten = self._forgotten
            try:
                secret = await self._database.read(open_secret, self._master, key_id)
            except SettingInvalid as error:  # where the keys lie is not for callers
                log.exception("the secret of key %s could not be opened", key_id)
                raise Internal("a secret could not be opened") from error
            if secret is not None and forgotten == self._forgotten:
                _remember(self._secrets, key_id, secret, KEYS_CACHED_MAX)
        return secret

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
        if key_id == EVERYTHING:
            self._known.clear()
            self._unknown.clear()
            self._secrets.clear()
        self._secrets.pop(key_id, None)
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)


def _split(authorization: bytes | None, api_key: bytes | None) -> tuple[str, str]:
    sent = api_key
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() == b"bearer":
            sent = token.strip()
        elif token:
            raise KeyMalformed("the Authorization header must be Bearer <id>.<secret>, or <id>.<secret> alone")
        else:
            sent = scheme
    if not sent:
        raise KeyMissing
    key_id, dot, secret = sent.decode("latin-1").partition(".")
    if not dot or not secret or len(sent) > CREDENTIAL_BYTES_MAX:
        raise KeyMalformed("it must be of the form <id>.<secret>")
    return key_id, secret


def _remember(cache: dict[str, V], key: str, value: V, most: int) -> None:
    if len(cache) >= most:
        cache.pop(next(iter(cache)))
    cache[key] = value
