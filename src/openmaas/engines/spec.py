"""What a parent tells an engine to be, as one JSON line on the child's standard input.

It knows no engine and no process; whoever starts ``openmaas.engines.program`` writes one, and the program reads it.
Nothing secret stands in it, and nothing of it stands in argv.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmaas.core.errors import SettingInvalid

Kind = Literal["llama", "echo", "embedder"]
Option = str | int | float | bool
SOCKET_PATH_BYTES_MAX = 107  #: sun_path of Linux holds 108 bytes with its closing NUL (unix(7))


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine: what it serves, where it listens, where it writes its counts.

    ``weights`` is a file (llama) or a folder (embedder); ``context`` is tokens per slot; ``meter`` is the path of the
    append-only count file; ``options`` belong to the kind and are checked by it.
    """

    kind: Kind
    model: str
    socket: str
    meter: str
    weights: str = ""
    slots: int = 4
    context: int = 8192
    options: dict[str, Option] = msgspec.field(default_factory=dict)

    def line(self) -> bytes:
        """The spec as the one line the program reads."""
        return msgspec.json.encode(self) + b"\n"


def read_spec(line: bytes) -> EngineSpec:
    """The spec in ``line``. Raises ``SettingInvalid`` that says which field is wrong."""
    try:
        spec = msgspec.json.decode(line, type=EngineSpec)
    except msgspec.DecodeError as wrong:
        raise SettingInvalid(f"engine spec: {wrong}") from None
    if len(spec.socket.encode()) > SOCKET_PATH_BYTES_MAX:
        raise SettingInvalid(f"engine socket path is longer than {SOCKET_PATH_BYTES_MAX} bytes: {spec.socket}")
    if spec.slots < 1 or spec.context < 1:
        raise SettingInvalid("engine slots and context must be at least 1")
    return spec


def refuse_unknown_options(spec: EngineSpec, known: frozenset[str]) -> None:
    """Raises ``SettingInvalid`` that names an option which the kind does not have."""
    for name in spec.options:
        if name not in known:
            raise SettingInvalid(f"engine option {name} is not one of {', '.join(sorted(known))}")
