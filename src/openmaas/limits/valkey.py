"""A lender in Valkey (or Redis 6.2 and newer): two scripts, sent in one round trip for all that a relay wants.

Nothing here is money, and nothing needs to survive: a Valkey that comes back empty has another *life*, and relays tell
it what they used. The clock that counts is Valkey's own. Needs the extra ``valkey``.
"""

from __future__ import annotations

from importlib.resources import files

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from openmaas.core.bounds import (
    BORROW_VALKEY_TIMEOUT_S,
    LIMIT_AMOUNT_MAX,
    SEATS_TERM_MS,
    SLICE_GRAIN_MS,
    WINDOW_MS,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import SettingInvalid, StoreFailed
from openmaas.limits.borrowing import RELAYS, Grant, Loan, RateWant, Want

_PREFIX = "openmaas:limits:"


class ValkeyLender:
    """Lends from hashes under ``openmaas:limits:``."""

    timeout_s = BORROW_VALKEY_TIMEOUT_S

    def __init__(self, url: str, clock: Clock) -> None:
        """``url`` is valkey://…, with TLS valkeys://… (or redis, rediss), or unix:///path.

        Raises ``SettingInvalid``.
        """
        scheme, colon, rest = url.partition(":")
        address = f"{scheme.replace('valkey', 'redis')}{colon}{rest}"
        try:
            self._client = Redis.from_url(
                address,
                decode_responses=True,
                socket_timeout=BORROW_VALKEY_TIMEOUT_S,
                socket_connect_timeout=BORROW_VALKEY_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),  # asked twice, it would take back twice
            )
        except ValueError as error:
            raise SettingInvalid(f"valkey_url cannot be read: {error}", field="valkey_url") from None
        self._clock = clock
        folder = files("openmaas.limits")
        self._rate = self._client.register_script((folder / "rate.lua").read_text())
        self._seats = self._client.register_script((folder / "seats.lua").read_text())

    async def lend(self, relay_id: str, wants: list[Want], parts: int) -> Loan:
        """Part of ``Lender``."""
        pipe = self._client.pipeline(transaction=False)
        born = self._clock.new_id("life")
        pipe.set(f"{_PREFIX}life", born, nx=True, get=True)
        for want in wants:
            script = self._rate if isinstance(want, RateWant) else self._seats
            await script(keys=[f"{_PREFIX}{want.counter}"], args=_arguments(want, relay_id, parts), client=pipe)
        try:
            life, *found = await pipe.execute()
        except (RedisError, OSError) as error:
            raise StoreFailed(str(error)) from error
        grants = [Grant(*row) for row in found]
        free = {want.counter: grant.free for want, grant in zip(wants, grants, strict=True)}
        return Loan(life or born, LIMIT_AMOUNT_MAX - free[RELAYS], grants)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def _arguments(want: Want, relay_id: str, parts: int) -> list[str | int]:
    if isinstance(want, RateWant):
        first = [want.amount, want.least, want.wish, want.first, parts, SLICE_GRAIN_MS, WINDOW_MS, len(want.back)]
        return [*first, *(number for pair in (*want.back, *want.used) for number in pair)]
    return [want.amount, want.kept, want.least, want.wish, parts, relay_id, SEATS_TERM_MS]
