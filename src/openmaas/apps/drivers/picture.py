"""What a driver must know of a screenshot: how large it is, and whether the device has blackened it."""

from __future__ import annotations

import asyncio
import io

import msgspec
from PIL import Image, UnidentifiedImageError

from openmaas.core.errors import DeviceLost

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Picture(msgspec.Struct, frozen=True):
    """A screenshot as PNG. ``black`` means all of it."""

    png: bytes
    width: int
    height: int
    black: bool


async def read(image: bytes) -> Picture:
    """Any image that a device wrote, as PNG; decoded in a thread, it takes some hundredths of a second."""
    try:
        return await asyncio.to_thread(_read, image)
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise DeviceLost("its screenshot cannot be read") from None


def black(width: int, height: int) -> bytes:
    """A PNG that shows nothing, for a device that gives none."""
    written = io.BytesIO()
    Image.new("RGB", (width, height)).save(written, "PNG")
    return written.getvalue()


def _read(image: bytes) -> Picture:
    with Image.open(io.BytesIO(image)) as opened:
        shown = opened.convert("RGB")
    png = image
    if not image.startswith(SIGNATURE):
        written = io.BytesIO()
        shown.save(written, "PNG")
        png = written.getvalue()
    return Picture(png, *shown.size, shown.getbbox() is None)
