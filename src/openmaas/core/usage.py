"""What a request used, in tokens and units. Shared by dialects (which read it), the relay and the ledger (which prices
it)."""

from __future__ import annotations

import msgspec

from openmaas.core.bounds import COUNT_MAX

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
