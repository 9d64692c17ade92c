"""What a parent tells an engine to be, as one JSON line on the child's standard input.

It knows no engine and no process; whoever starts ``openmaas.engines.program`` writes one, and the program reads it.
Nothing secret stands in it, and nothing of it stands in argv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from openmaas.core.bounds import SOCKET_PATH_BYTES_MAX
from openmaas.core.errors import FieldInvalid, SettingInvalid

Kind = Literal["llama", "echo", "embedder", "search", "moderator", "glm", "openvino"]
Option = str | int | float | bool


#: Of an engine's process. Memory for weights and caches comes in pages of 2 MB: llama.cpp clears its whole cache at the
#: start (glibc ≥ 2.35). Threads wait for each other by spinning for about 10 µs and then sleep: with libgomp's default
#: two engines on two cores mostly wait for each other (2 tokens a second where this makes 15).
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "GOMP_SPINCOUNT": "1000"}


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine: what it serves, where it listens, where it writes its counts.

    ``weights`` is a file (llama), a folder (embedder, glm) or either (openvino); ``template`` is the chat template
    in place of the one in ``weights``, when that is wrong; ``context`` is tokens per slot; ``meter`` is the path of the
    append-only count file; ``options`` belong to the kind and are checked by it.
    """

    kind: Kind
    model: str
    socket: str
    meter: str
    weights: str = ""
    template: str = ""
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


#: How the vectors of a text's tokens become one, in files that do not say it: llama.cpp's names.
POOLINGS = ("mean", "cls", "last")
#: The options of each kind and what they are: a type, or one of several words. ``over`` names the model whose engines
#: hold the weights that an adapter lies over; nothing else of the list belongs to one.
OPTIONS: dict[str, dict[str, type | tuple[str, ...]]] = {
    "llama": {"threads": int, "embedding": bool, "batch": int, "dimensions_min": int, "pooling": POOLINGS, "over": str},
    "embedder": {"query": bool, "dimensions_min": int},
    "search": dict.fromkeys(("searxng", "engines", "categories", "language", "folder"), str),
    "moderator": {"words": str},
    "glm": {"threads": int},
    "openvino": {"threads": int},
}
#: Members of a request that engines of a kind do not have, and others do: a request that uses one goes to another
#: engine of the same model, where there is one, and is refused by name here. ``logprobs`` is the number of alternatives
#: that ``/v1/completions`` asks for by it; ``true``, of a chat, means the tokens of the answer alone, which all have.
LACKS: dict[str, tuple[str, ...]] = {"openvino": ("top_logprobs", "logprobs", "logit_bias", "suffix", "echo")}
_SAID: dict[type, str] = {int: "a whole number above 0", bool: "true or false", str: "a text"}


def lacking(kind: str, members: Mapping[str, object]) -> str:
    """The first of ``members``, of a request as it was decoded, that engines of ``kind`` do not have; "" for none."""
    used = (name for name in LACKS.get(kind, ()) if members.get(name))
    return next((name for name in used if members[name] is not True or name != "logprobs"), "")


def check_options(kind: str, options: Mapping[str, Option]) -> None:
    """Raises ``FieldInvalid`` that names an option which the kind does not have, or which is not of its type."""
    known = OPTIONS.get(kind, {})
    for name, value in options.items():
        if name not in known:
            choice = f"{kind} has {', '.join(sorted(known))}" if known else f"{kind} has none"
            raise FieldInvalid(f"options.{name} is not an option: {choice}", field=f"options.{name}")
        wanted = known[name]
        if isinstance(wanted, tuple):
            if value not in wanted:
                raise FieldInvalid(f"options.{name} must be one of {', '.join(wanted)}", field=f"options.{name}")
        elif type(value) is not wanted or (wanted is int and not 0 < value < 2**31):  # type: ignore[operator]
            raise FieldInvalid(f"options.{name} must be {_SAID[wanted]}", field=f"options.{name}")
