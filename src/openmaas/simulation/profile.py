"""How fast an engine is: five figures and three sizes, as a TOML file that says of each where it comes from."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from openmaas.core.errors import FieldInvalid

_Seconds = Annotated[float, Meta(ge=0)]
_Size = Annotated[int, Meta(ge=1)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One replica. Times are seconds; ``engine.py`` has the formula they stand in."""

    name: str
    source: str  #: who measured it where, or the page it was published on
    measured: bool  #: by us, on an engine that ran; otherwise it was published
    accelerators: _Size = 1  #: GPUs, or cores, that one replica takes
    slots: _Size  #: requests at once
    chunk_tokens: _Size  #: of prompts, read in one step
    memory_tokens: _Size  #: that all requests under way hold together
    cache_tokens: Annotated[int, Meta(ge=0)]  #: that the prefix cache holds
    step_s: _Seconds  #: a step by itself
    sequence_s: _Seconds  #: … and for each answer it says a token of
    held_token_s: _Seconds  #: … and for each token that those have before it
    read_token_s: Annotated[float, Meta(gt=0)]  #: for each token of a prompt
    read_held_token_s: _Seconds  #: … and of each for each that is before it in the prompt

    def toml(self) -> bytes:
        """As a file that ``load`` reads. JSON's texts, numbers and truths are TOML's."""
        told = msgspec.structs.asdict(self)
        return b"".join(b"%s = %s\n" % (name.encode(), msgspec.json.encode(value)) for name, value in told.items())


def load(path: str) -> Profile:
    """A profile by path, or by the name of one that comes with the package.

    Raises:
        FieldInvalid: there is none, or a figure is missing, unknown or out of range; says which.
    """
    shipped = {each.name.removesuffix(".toml"): each for each in _folder().iterdir() if each.name.endswith(".toml")}
    try:
        content = shipped[path].read_bytes() if path in shipped else Path(path).read_bytes()
    except OSError as error:
        names = ", ".join(sorted(shipped))
        raise FieldInvalid(f"--profile {path}: {error.strerror}; shipped are {names}", field="profile") from None
    try:
        return msgspec.toml.decode(content, type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FieldInvalid(f"--profile {path}: {error}", field="profile") from None


def _folder() -> Traversable:
    return files("openmaas.simulation") / "profiles"
