"""Text into an Android phone, in any script.

``input text`` types what its key map has, which is ASCII; for the rest there is the input method ADBKeyBoard, which
commits what a broadcast brings (github.com/senzhk/ADBKeyBoard). It is switched on for one text and the one before is
put back: after it, after an error, after a cancellation, and at the latest when the driver is closed.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator

from openmaas.apps.drivers.adb.keycodes import DELETE_BACK, ENTER, KEYCODES
from openmaas.core import bounds
from openmaas.core.errors import CannotAct

INPUT_METHOD = "com.android.adbkeyboard/.AdbIME"
ABSENT = (
    "only plain ASCII can be typed on this phone: for other scripts install ADBKeyboard.apk from "
    "github.com/senzhk/ADBKeyBoard with `adb install`"
)
CLEAR = f"input keycombination {KEYCODES['Control']} {KEYCODES['a']} && input keyevent {DELETE_BACK}"

#: Runs a command on the phone and gives what it wrote; raises ``CannotAct`` when it failed.
log = logging.getLogger(__name__)
Run = Callable[[str], Awaitable[str]]


class Keyboard:
    """Types into whatever has the focus."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._undo: list[str] = []
        self._restoring = asyncio.Lock()

    async def type(self, text: str) -> None:
        """Type it, a line feed as Enter where that is enough."""
        if all(" " <= character <= "~" or character == "\n" for character in text):
            for command in _key_strokes(text):
                await self._run(command)
            return
        try:
            await self._switch()
            for piece in _pieces(text, bounds.ADB_TYPED_BYTES_MAX):
                message = base64.b64encode(piece.encode()).decode()
                await self._run(f"am broadcast -a ADB_INPUT_B64 --es msg {message}")
        finally:
            await asyncio.shield(self.restore())

    async def restore(self) -> None:
        """Put back what was switched; nothing when nothing was."""
        async with self._restoring:  # closing may come while a cancelled text still does it
            while self._undo:
                try:
                    await self._run(self._undo[0])
                except CannotAct:  # this step cannot be done, and the others can
                    log.warning("the phone would not: %s", self._undo[0])
                del self._undo[0]

    async def _switch(self) -> None:
        if INPUT_METHOD not in (await self._run("ime list -a -s")).split():
            raise CannotAct(ABSENT)
        before = (await self._run("settings get secure default_input_method")).strip()
        if before == INPUT_METHOD:
            return
        enabled = (await self._run("ime list -s")).split()
        self._undo = [f"ime set {shlex.quote(before)}"] if before not in ("", "null") else []
        if INPUT_METHOD not in enabled:
            self._undo.append(f"ime disable {INPUT_METHOD}")
        await self._run(f"ime enable {INPUT_METHOD} && ime set {INPUT_METHOD}")
        await asyncio.sleep(bounds.ADB_KEYBOARD_PAUSE_S)


def _key_strokes(text: str) -> Iterator[str]:
    # ``input text`` reads %s as a space: a text that has it is cut between the two.
    for part in re.split(r"(?<=%)(?=s)|(\n)", text):
        if part == "\n":
            yield f"input keyevent {ENTER}"
        elif part:
            for piece in _pieces(part, bounds.ADB_TYPED_BYTES_MAX):
                yield f"input text {shlex.quote(piece)}"


def _pieces(text: str, size_bytes: int) -> Iterator[str]:
    """The text in parts of at most so many bytes, cut between characters."""
    piece, size = "", 0
    for character in text:
        length = len(character.encode())
        if size + length > size_bytes:
            yield piece
            piece, size = "", 0
        piece += character
        size += length
    yield piece
