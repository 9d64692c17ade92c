"""The driver of a HarmonyOS phone, through the program ``hdc`` (there is no other door) and the phone's ``uitest``.

Protocol only: held to the recorded forms of both in the tests, not run on a device. ``hdc`` hands on no exit codes, so
that what failed is told by words. Launch takes the names of bundles: what they are called, the phone does not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec

from openmaas.apps.drivers import hierarchy, picture
from openmaas.apps.drivers.acts import Act, Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.checking import FINGER, check
from openmaas.apps.drivers.driver import Element, Screen
from openmaas.apps.drivers.scrolling import swipes
from openmaas.core import bounds
from openmaas.core.errors import CannotAct, DeviceLost

#: Numbers of keys (``@ohos.multimodalInput.keyCode``), by the names of ``KeyboardEvent.key``.
KEYCODES: dict[str, int] = {
    **{digit: 2000 + place for place, digit in enumerate("0123456789")},
    **{letter: 2017 + place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")},
    **{f"F{number}": 2089 + number for number in range(1, 13)},
    "ArrowUp": 2012,
    "ArrowDown": 2013,
    "ArrowLeft": 2014,
    "ArrowRight": 2015,
    "Alt": 2045,
    "Shift": 2047,
    "Tab": 2049,
    " ": 2050,
    "Enter": 2054,
    "Backspace": 2055,
    "PageUp": 2068,
    "PageDown": 2069,
    "Escape": 2070,
    "Delete": 2071,
    "Control": 2072,
    "Meta": 2076,
    "Home": 2081,
    "End": 2082,
    "Insert": 2083,
}
#: What ``uitest dumpLayout`` calls the attributes of a view, beside uiautomator's name.
_ATTRIBUTES = {
    "text": "text",
    "description": "content-desc",
    "hint": "hint",
    "type": "class",
    "id": "resource-id",
    "bounds": "bounds",
    "clickable": "clickable",
    "longClickable": "long-clickable",
    "checkable": "checkable",
    "checked": "checked",
    "enabled": "enabled",
    "focused": "focused",
    "scrollable": "scrollable",
}
_LAYOUT, _SHOT = "/data/local/tmp/openmaas.json", "/data/local/tmp/openmaas.jpeg"


async def open_harmony(serial: str, program: str = "hdc") -> Harmony:
    """The phone that ``hdc list targets`` lists under this name."""
    phone = Harmony(serial, program)
    await phone.look()
    return phone


class Harmony:
    """A ``Driver``. The size and the elements are those of the last look."""

    kind = "phone"
    acts: frozenset[type[Act]] = frozenset({Tap, Press, Swipe, Scroll, Type, Key, Back, Home, Launch})

    def __init__(self, serial: str, program: str) -> None:
        self.name = serial
        self._program = program
        self._size = 0, 0
        self._elements: tuple[Element, ...] = ()

    async def look(self) -> Screen:
        """See ``Driver``. A screenshot that the phone refuses counts as black."""
        # One that fails leaves the file of the last time: it is removed first.
        await self._shell(f"rm -f {_LAYOUT} {_SHOT}; uitest dumpLayout -p {_LAYOUT}")
        layout = await self._file(_LAYOUT)
        await self._shell(f"snapshot_display -f {_SHOT}")
        shot = await self._file(_SHOT)
        if not shot and any(self._size):
            shot = picture.black(*self._size)
        shown = await picture.read(shot)
        self._size = shown.width, shown.height
        try:
            tree = msgspec.json.decode(layout, type=dict[str, Any])
        except msgspec.DecodeError:
            tree = {}
        self._elements = hierarchy.of_tree(_node(tree), *self._size)
        front = next(_attributes(tree, "bundleName"), "")
        title = next(_attributes(tree, "abilityName"), "")
        return Screen(shown.png, *self._size, front, title, self._elements, shown.black)

    async def do(self, act: Act) -> None:
        """See ``Driver``. How long a press lasts, the phone decides."""
        check(act, self.acts, *self._size, FINGER)
        match act:
            case Tap(at=at, count=count):
                verb = "doubleClick" if count == 2 else "click"
                for _ in range(1 if count == 2 else count):
                    await self._input(f"{verb} {at.x} {at.y}")
            case Press(at=at):
                await self._input(f"longClick {at.x} {at.y}")
            case Swipe(start=start, end=end, duration_ms=duration_ms):
                await self._swipe(start, end, duration_ms)
            case Scroll():
                for swipe in swipes(act, self._elements, *self._size):
                    await self._swipe(swipe.start, swipe.end, swipe.duration_ms)
            case Type(text=text, clear=clear):
                await self._type(text, clear=clear)
            case Key(keys=keys):
                await self._press(keys)
            case Back() | Home():
                await self._input(f"keyEvent {type(act).__name__}")
            case Launch(app=app):
                await self._launch(app)
            case _:
                raise AssertionError(act)

    async def apps(self) -> tuple[str, ...]:
        """See ``Driver``."""
        listed = await self._shell("bm dump -a")
        return tuple(sorted(line.strip() for line in listed.splitlines() if re.fullmatch(r"\s+[\w.]+", line)))

    async def close(self) -> None:
        """See ``Driver``. Only the files of the last look are left to be removed."""
        with contextlib.suppress(DeviceLost, CannotAct):
            await self._shell(f"rm -f {_LAYOUT} {_SHOT}")

    async def _swipe(self, start: Point, end: Point, duration_ms: int) -> None:
        velocity = math.dist((start.x, start.y), (end.x, end.y)) / max(duration_ms, 1) * 1000
        velocity = min(max(velocity, bounds.UITEST_VELOCITY_MIN), bounds.UITEST_VELOCITY_MAX)
        await self._input(f"swipe {start.x} {start.y} {end.x} {end.y} {round(velocity)}")

    async def _type(self, text: str, *, clear: bool) -> None:
        if clear:
            await self._press(("Control", "a"))
            await self._press(("Backspace",))
        for place, line in enumerate(text.split("\n")):
            if place:
                await self._press(("Enter",))
            if line:
                await self._input(f"text {shlex.quote(line)}")

    async def _press(self, keys: tuple[str, ...]) -> None:
        if len(keys) == 1 and len(keys[0]) == 1 and keys[0] not in KEYCODES:
            await self._type(keys[0], clear=False)
            return
        codes = [KEYCODES.get(key) or KEYCODES.get(key.lower()) for key in keys]
        if None in codes or len(codes) > 3:
            raise CannotAct("uitest presses up to three keys together, and none of other scripts")
        await self._input(f"keyEvent {' '.join(map(str, codes))}")

    async def _launch(self, bundle: str) -> None:
        if bundle not in await self.apps():
            raise CannotAct(f"there is no application {bundle!r} on this phone; they are called by their bundles")
        told = await self._shell(f"bm dump -n {bundle}")
        ability = re.search(r'"mainAbility":\s*"([\w.]+)"', told)
        said = await self._shell(f"aa start -b {bundle} -a {ability[1] if ability else 'EntryAbility'}")
        if "successfully" not in said:
            raise CannotAct(said)

    async def _input(self, line: str) -> None:
        said = await self._shell(f"uitest uiInput {line}")
        if "no error" not in said.lower():
            raise CannotAct(said.strip())

    async def _shell(self, line: str) -> str:
        return await self._hdc("shell", line)

    async def _file(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            await self._hdc("file", "recv", path, str(target))
            return target.read_bytes() if target.exists() else b""

    async def _hdc(self, *words: str) -> str:
        """What ``hdc`` wrote; the device is lost when it says so, or nothing."""
        command = (self._program, "-t", self.name, *words)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        except OSError:
            raise DeviceLost(f"there is no program {self._program} here; HarmonyOS's SDK has it") from None
        try:
            async with asyncio.timeout(bounds.HDC_TIMEOUT_S):
                out, _ = await process.communicate()
        except TimeoutError:
            raise DeviceLost(f"no answer within {bounds.HDC_TIMEOUT_S:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = out.decode(errors="replace")
        if "[Fail]" in said:
            raise DeviceLost(said.partition("[Fail]")[2].strip())
        return said


def _node(tree: dict[str, Any]) -> ElementTree.Element:
    """The layout with uiautomator's names, so that one reading serves both."""
    attributes = tree.get("attributes", {})
    named = {ours: str(attributes.get(theirs, "")) for theirs, ours in _ATTRIBUTES.items()}
    node = ElementTree.Element("node", named, password=str(attributes.get("inputType") == "password").lower())
    node.extend(_node(child) for child in tree.get("children", ()))
    return node


def _attributes(tree: dict[str, Any], name: str) -> Any:
    """The values of an attribute in the tree, the outermost first."""
    if value := tree.get("attributes", {}).get(name):
        yield value
    for child in tree.get("children", ()):
        yield from _attributes(child, name)
