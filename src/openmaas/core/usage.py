"""What a request used, in tokens and units. Shared by dialects (which read it), the relay and the ledger (which prices
it)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from openmaas.core.bounds import COUNT_DIGITS_MAX, COUNT_MAX

#: What can be counted and priced beside tokens: ``storage`` is cached tokens times hours, ``training`` tokens that a
#: model was tuned by.
UNITS = ("call", "character", "image", "second", "storage", "training")
#: So many of each of some ``UNITS``.
Units = tuple[tuple[str, int], ...]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one request.

    ``cached_tokens`` is the part of ``prompt_tokens`` read from the prefix cache; ``reasoning_tokens`` the part of
    ``completion_tokens`` spent thinking. ``estimated`` marks counts that no engine reported. ``units`` counts what is
    no token, by the names of ``UNITS``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    units: Units = ()


#: Headers in which an engine says, before the first token of a stream, what it read and how much of that was cached: a
#: stream that breaks off never comes to its ``usage``.
_PROMPT_TOKENS, _CACHED_TOKENS = b"x-prompt-tokens", b"x-cached-tokens"


def say_prompt(prompt_tokens: int, cached_tokens: int) -> bytes:
    """The header lines."""
    return b"%b: %d\r\n%b: %d\r\n" % (_PROMPT_TOKENS, prompt_tokens, _CACHED_TOKENS, cached_tokens)


def prompt_of(headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
    """The prompt that the lines tell of; None without a count that can be read."""
    told = {name.lower(): int(value) for name, value in headers if value.isdigit() and len(value) <= COUNT_DIGITS_MAX}
    if _PROMPT_TOKENS not in told:
        return None
    return Usage(_count(told[_PROMPT_TOKENS]), cached_tokens=_count(told.get(_CACHED_TOKENS, 0)), estimated=True)


class PromptDetails(msgspec.Struct, gc=False):
    """``usage.prompt_tokens_details`` of the OpenAI wire."""

    cached_tokens: int | None = 0


class CompletionDetails(msgspec.Struct, gc=False):
    """``usage.completion_tokens_details`` of the OpenAI wire."""

    reasoning_tokens: int | None = 0


class WireUsage(msgspec.Struct, gc=False):
    """The ``usage`` object as the OpenAI wire spells it, with what our own engines count that is no token."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    units: dict[str, int] | None = None

    def usage(self) -> Usage:
        """The same as a ``Usage``; a count that is missing is 0, and one that no column holds is the most that does."""
        cached, reasoning = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            _count(self.prompt_tokens),
            _count(self.completion_tokens),
            _count(cached.cached_tokens) if cached else 0,
            _count(reasoning.reasoning_tokens) if reasoning else 0,
            units=_known(self.units) if self.units else (),
        )


def _count(told: int | None) -> int:
    return min(max(told or 0, 0), COUNT_MAX)


def _known(units: dict[str, int]) -> Units:
    return tuple((name, _count(units[name])) for name in UNITS if units.get(name, 0) > 0)
