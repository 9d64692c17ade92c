"""The header of a GGUF file: how long a context the model knows, how long its vectors are, whether it can chat, of
which types its tensors are, and whether the file is all there.

It knows the format and no catalogue, and reads no tensor; whoever offers a file calls it.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from openmaas.core.bounds import GGUF_TEXT_BYTES_MAX
from openmaas.core.errors import FieldInvalid

#: Our own word in the header of an adapter: whether it learned from thoughts. What did not is never asked for one.
THINKS = "openmaas.thinks"
#: The types of tensors that files are found with, by their number (ggml.h, ``enum ggml_type``).
TENSOR_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    30: "BF16",
    39: "MXFP4",
}
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def gguf_context(path: Path) -> int:
    """The context length in tokens that a GGUF file names. Raises ``FieldInvalid`` when it is none."""
    return _number(path, "context_length")


def gguf_template(path: Path) -> str:
    """The file's chat template: a model that was only pretrained has none, which is "". ``FieldInvalid`` as above."""
    return next((str(value) for key, value in _said(path) if key == "tokenizer.chat_template"), "")


class Adapter(msgspec.Struct, frozen=True):
    """What the file of an adapter says of it: whether it learned to think."""

    thinks: bool = True


def gguf_adapter(path: Path) -> Adapter:
    """What a file says that is an adapter. Raises ``FieldInvalid`` when it is none."""
    said = dict(_said(path))
    if said.get("general.type") != "adapter":
        raise FieldInvalid(f"{path} holds a model and no adapter", field="weights")
    return Adapter(thinks=said.get(THINKS) is not False)


def gguf_embedding(path: Path) -> int:
    """How many numbers a vector of the model has. Raises ``FieldInvalid`` when the file does not say it."""
    return _number(path, "embedding_length")


def _number(path: Path, name: str) -> int:
    for key, value in _said(path):
        if key.endswith(f".{name}") and isinstance(value, int):
            return value
    raise FieldInvalid(f"{path} names no {name.replace('_', ' ')}", field="model")


def _said(path: Path) -> Iterator[tuple[str, object]]:
    """What the header says, pair by pair; lists are None."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise FieldInvalid(f"{path} is not a GGUF file", field="model")
            _version, _tensors, count = struct.unpack("<IQQ", file.read(20))
            for _ in range(count):
                yield _text(file), _value(file, struct.unpack("<I", file.read(4))[0])
    except (struct.error, OSError, UnicodeDecodeError) as error:
        raise FieldInvalid(f"{path} cannot be read as GGUF, it may be cut off: {error}", field="model") from None


def check_whole(path: Path) -> None:
    """Raises ``FieldInvalid`` for a GGUF file that ends before its last tensor begins, as half a download does."""
    try:
        with path.open("rb") as file:
            last = max((offset for _name, _kind, offset in _tensors(file)), default=0)
            if path.stat().st_size <= file.tell() + last:
                raise struct.error("tensors are missing")
    except (struct.error, OSError, UnicodeDecodeError) as error:
        raise FieldInvalid(f"{path} is cut off ({error}); fetch it again", field="model") from None


def gguf_tensor_types(path: Path) -> list[tuple[str, int]]:
    """Each tensor's name and the number of its type. Raises ``FieldInvalid`` when the file cannot be read."""
    try:
        with path.open("rb") as file:
            return [(name, kind) for name, kind, _ in _tensors(file)]
    except (struct.error, OSError, UnicodeDecodeError) as error:
        raise FieldInvalid(f"{path} cannot be read as GGUF, it may be cut off: {error}", field="model") from None


def _tensors(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """What the list of tensors says, from the beginning of the file: name, type, offset among them."""
    magic, _version, tensors, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF":
        raise struct.error("it does not begin as one")
    for _ in range(count):
        _text(file)
        _value(file, struct.unpack("<I", file.read(4))[0])
    for _ in range(tensors):
        name = _text(file)
        (dimensions,) = struct.unpack("<I", file.read(4))
        *_shape, kind, offset = struct.unpack(f"<{dimensions}QIQ", file.read(8 * dimensions + 12))
        yield name, kind, offset


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > GGUF_TEXT_BYTES_MAX:
        raise struct.error("a text is too long")
    return file.read(length).decode()


def _value(file: BinaryIO, kind: int) -> object:
    if kind == 8:
        return _text(file)
    if kind == 9:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _SCALARS:
            file.seek(count * struct.calcsize(_SCALARS[inner]), os.SEEK_CUR)
            return None
        for _ in range(count):
            _value(file, inner)
        return None
    if kind not in _SCALARS:
        raise struct.error(f"unknown kind {kind}")
    form = _SCALARS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]
