"""The driver of an Android phone. What it sends are the phone's own programs: ``input``, ``screencap``,
``uiautomator``, ``dumpsys``, ``am``; it installs nothing.

Tested against adb 1.0.41 and the simulated phone; not run on a device of Android's own yet.
"""

from __future__ import annotations

import contextlib
import re
import shlex

from openmaas.apps.drivers import hierarchy, picture
from openmaas.apps.drivers.acts import Act, Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.adb import keycodes, packages, server, window
from openmaas.apps.drivers.adb.keyboard import CLEAR, Keyboard
from openmaas.apps.drivers.checking import FINGER, check
from openmaas.apps.drivers.driver import Element, Screen
from openmaas.apps.drivers.scrolling import swipes
from openmaas.core.errors import CannotAct, DeviceLost

_SIZE = re.compile(r"(\d+)x(\d+)")


async def open_android(serial: str, port: int = server.PORT) -> Android:
    """The phone of this serial number, which the adb server on ``port`` knows."""
    answer = (await server.shell(serial, "wm size", port)).text
    sizes = _SIZE.findall(answer)
    if not sizes:
        raise DeviceLost(f"it does not tell the size of its screen: {answer}")
    width, height = sizes[-1]  # an override stands below the physical size
    return Android(serial, port, int(width), int(height))


class Android:
    """A ``Driver``. The size and the elements are those of the last look."""

    kind = "phone"
    acts: frozenset[type[Act]] = frozenset({Tap, Press, Swipe, Scroll, Type, Key, Back, Home, Launch})

    def __init__(self, serial: str, port: int, width: int, height: int) -> None:
        self.name = serial
        self._port = port
        self._size = width, height
        self._elements: tuple[Element, ...] = ()
        self._keyboard = Keyboard(self._run)

    async def look(self) -> Screen:
        """See ``Driver``. A screenshot that the phone refuses counts as black."""
        focus = window.focus((await self._shell("dumpsys window")).text)
        tree = (await self._shell("uiautomator dump /dev/tty")).out.decode(errors="replace")
        shot = (await self._shell("screencap -p")).out
        start = shot.find(picture.SIGNATURE)  # warnings may stand before it
        shown = await picture.read(shot[start:] if start >= 0 else picture.black(*self._size))
        self._size = shown.width, shown.height
        self._elements = hierarchy.of_dump(tree, *self._size)
        return Screen(
            png=shown.png,
            width=shown.width,
            height=shown.height,
            app=focus.package,
            title=focus.title,
            elements=self._elements,
            secure=focus.secure or shown.black,
        )

    async def do(self, act: Act) -> None:
        """See ``Driver``. Where a text goes without a focused field the phone does not say."""
        check(act, self.acts, *self._size, FINGER)
        match act:
            case Tap(at=at, count=count):
                await self._run(" && ".join([f"input tap {at.x} {at.y}"] * count))
            case Press(at=at, duration_ms=duration_ms):
                await self._swipe(at, at, duration_ms)
            case Swipe(start=start, end=end, duration_ms=duration_ms):
                await self._swipe(start, end, duration_ms)
            case Scroll():
                for swipe in swipes(act, self._elements, *self._size):
                    await self._swipe(swipe.start, swipe.end, swipe.duration_ms)
            case Type(text=text, clear=clear):
                if clear:
                    await self._run(CLEAR)
                await self._keyboard.type(text)
            case Key(keys=keys):
                await self._press(keys)
            case Back():
                await self._run(f"input keyevent {keycodes.BACK}")
            case Home():
                await self._run(f"input keyevent {keycodes.HOME}")
            case Launch(app=app):
                await self._launch(app)
            case _:
                raise AssertionError(act)

    async def apps(self) -> tuple[str, ...]:
        """See ``Driver``."""
        return tuple(sorted({name for app in await self._apps() for name in app.names}))

    async def close(self) -> None:
        """See ``Driver``. A phone that is gone has nothing to put back."""
        with contextlib.suppress(DeviceLost):
            await self._keyboard.restore()

    async def _swipe(self, start: Point, end: Point, duration_ms: int) -> None:
        await self._run(f"input swipe {start.x} {start.y} {end.x} {end.y} {duration_ms}")

    async def _press(self, keys: tuple[str, ...]) -> None:
        unknown = [key for key in keys if key.lower() not in keycodes.KEYCODES and key not in keycodes.KEYCODES]
        if len(keys) == 1 and len(keys[0]) == 1:
            await self._keyboard.type(keys[0])
        elif unknown:
            raise CannotAct(f"a phone has no key {unknown[0]!r} that could be pressed together with others")
        else:
            codes = [str(keycodes.KEYCODES.get(key) or keycodes.KEYCODES[key.lower()]) for key in keys]
            await self._run(f"input {'keyevent' if len(codes) == 1 else 'keycombination'} {' '.join(codes)}")

    async def _launch(self, wanted: str) -> None:
        app = packages.find(await self._apps(), wanted)
        if app is None:
            raise CannotAct(f"there is no application {wanted!r} on this phone")
        intent = "-a android.intent.action.MAIN -c android.intent.category.LAUNCHER"
        said = await self._run(f"am start {intent} -n {shlex.quote(f'{app.package}/{app.activity}')}")
        if "Error" in said:
            raise CannotAct(said)

    async def _apps(self) -> tuple[packages.App, ...]:
        return packages.read(await self._run(packages.QUERY))

    async def _run(self, command: str) -> str:
        """Run it; ``CannotAct`` with the phone's words when it fails."""
        outcome = await self._shell(command)
        if outcome.code != 0:
            raise CannotAct(outcome.text or f"`{command.split()[0]}` failed on the phone with {outcome.code}")
        return outcome.text

    async def _shell(self, command: str) -> server.Outcome:
        return await server.shell(self.name, command, self._port)
