"""Shorter vectors than a model makes (``dimensions``): their first numbers, of length one again.

A model must have been trained for it (Kusupati et al., https://arxiv.org/abs/2205.13147): of another the first numbers
mean little, and nothing would show it. So a deployment says how few may be asked for, as its model's card does. The
engines that embed call it; it knows no engine.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence

from openmaas.core.errors import FieldInvalid

#: The option of a deployment: the fewest numbers that its model's vectors may be cut to.
OPTION = "dimensions_min"


def check_dimensions(asked: int | None, least: int, length: int) -> None:
    """Raises ``FieldInvalid`` unless vectors of ``length`` numbers may be told as ``asked``. ``least`` is 0 for a model
    that was not trained for it."""
    if asked is None or asked == length:
        return
    if not least:
        raise FieldInvalid(f"dimensions can only be {length} on this model; leave it out", field="dimensions")
    if not least <= asked <= length:
        raise FieldInvalid(f"dimensions must be {least} to {length} on this model", field="dimensions")


def shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """The first ``dimensions`` of a vector, of length one; all of it as it is when there are no more."""
    if dimensions is None or dimensions >= len(vector):
        return list(vector)
    first = vector[:dimensions]
    length = math.hypot(*first)
    return [each / length for each in first] if length else list(first)


def packed(vector: Sequence[float]) -> str:
    """As ``encoding_format`` ``base64`` tells it: float32, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpacked(text: str) -> list[float]:
    """The same read."""
    held = base64.b64decode(text)
    return list(struct.unpack(f"<{len(held) // 4}f", held))
