"""The cues of the echo engine: how many tokens, how fast, and how to break.

It knows the little language ``key=value,key=value`` and nothing of answering; ``engine.py`` reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.engines.spec import Option

NEVER = -1


class Cue(msgspec.Struct, frozen=True):
    """How one answer shall go. Counts are tokens of one choice; ``NEVER`` switches a break off."""

    tokens: int = 16
    pace_ms: float = 0.0  #: between two tokens
    wait_ms: float = 0.0  #: before the first byte
    status: int = 0  #: answer this error and nothing else
    cut_after: int = NEVER  #: close the socket in mid-answer
    stall_after: int = NEVER  #: send nothing more, ever
    die: int = NEVER  #: end the process
    no_usage: int = 0  #: leave the usage event out
    cached: int = 0  #: prompt tokens said to come from the cache
    reasoning: int = 0  #: tokens of reasoning before the answer, counted as completion
    big: int = 0  #: bytes of content in each token
    coalesce: int = 1  #: events in one write


def read_options(options: Mapping[str, Option]) -> Cue:
    """The defaults of one engine. Raises ``FieldInvalid`` that names the key."""
    return _change(Cue(), dict(options))


def read_cue(defaults: Cue, user: str, header: str) -> Cue:
    """``defaults``, changed by the field ``user`` and then by the header. Raises ``FieldInvalid``."""
    return _read(defaults, user.removeprefix("echo:") if user.startswith("echo:") else "", header.removeprefix("echo:"))


@functools.lru_cache(maxsize=256)
def _read(defaults: Cue, *texts: str) -> Cue:
    changes: dict[str, str] = {}
    for text in texts:
        for pair in filter(None, (part.strip() for part in text.split(","))):
            key, _, value = pair.partition("=")
            changes[key.strip()] = value.strip()
    return _change(defaults, changes)


def _change(defaults: Cue, changes: Mapping[str, Option]) -> Cue:
    merged = {**msgspec.structs.asdict(defaults), **changes}
    for name in merged:
        if name not in Cue.__struct_fields__:
            raise FieldInvalid(f"echo has no cue {name}; it has {', '.join(Cue.__struct_fields__)}", field=name)
    try:
        return msgspec.convert(merged, Cue, strict=False)
    except msgspec.ValidationError as wrong:
        raise FieldInvalid(f"echo cue: {wrong}", field="user") from None
