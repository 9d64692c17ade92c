"""A desktop that can be looked at and acted upon: an X server, through its own protocol.

Its elements are its windows: what is in them is on the picture alone, for that needs a model that sees and no
accessibility bus. Whatever starts, stays: closing the driver closes no window.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec
from Xlib import error

from openmaas.apps.drivers.acts import Act, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.checking import check
from openmaas.apps.drivers.desktop import clipboard, programs
from openmaas.apps.drivers.desktop.display import BUTTONS, WHEEL, Display
from openmaas.apps.drivers.desktop.keyboard import Keyboard
from openmaas.apps.drivers.driver import Element, Screen
from openmaas.core.bounds import DESKTOP_ACT_S, DESKTOP_SETTLE_S, DESKTOP_TEXT_MAX
from openmaas.core.errors import CannotAct, DeviceLost

ACTS: frozenset[type[Act]] = frozenset({Tap, Press, Hover, Swipe, Scroll, Type, Key, Launch})
#: What Xlib says when nobody is there any more.
_GONE = (error.ConnectionClosedError, error.DisplayError, OSError)
#: Where a drag's mouse is seen on its way.
_STEPS = 12
P = ParamSpec("P")
T = TypeVar("T")


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which desktop, and what may be opened on it: commands by name, and the applications of folders."""

    display: str
    commands: dict[str, tuple[str, ...]] = {}
    folders: tuple[str, ...] = ()


async def open_desktop(plan: Plan) -> Desktop:
    """The desktop of this X server. Raises ``DeviceLost`` if none answers."""
    worker = ThreadPoolExecutor(1, thread_name_prefix=f"display {plan.display}")
    try:
        shown = await asyncio.get_running_loop().run_in_executor(worker, Display, plan.display)
    except BaseException:
        worker.shutdown(wait=False)
        raise
    return Desktop(plan, shown, worker)


class Desktop:
    """The driver."""

    kind = "desktop"
    acts = ACTS

    def __init__(self, plan: Plan, shown: Display, worker: ThreadPoolExecutor) -> None:
        self.name = plan.display
        self._plan, self._shown, self._worker = plan, shown, worker
        self._stop = threading.Event()
        self._keyboard = Keyboard(shown, self._stop)
        self._programs = {**programs.entries(plan.folders), **plan.commands}
        self._lost = ""

    async def look(self) -> Screen:
        """All screens as one picture, and the windows on it."""
        return await self._work(self._look)

    def _look(self) -> Screen:
        png, width, height = self._shown.picture()
        windows = self._shown.windows()
        title = next((window.title for window in windows if window.active), "")
        elements = tuple(
            Element("window", window.title, window.box, place=f"{window.number:#x}", focused=window.active)
            for window in windows
        )
        return Screen(png, width, height, title, title, elements)

    async def do(self, act: Act) -> None:
        """Do it, and return when the window that has the focus has taken it."""
        await self._work(self._do, act)

    def _do(self, act: Act) -> None:
        check(act, self.acts, *self._shown.size())
        match act:
            case Tap(at=at, button=button, count=count):
                self._shown.move(at)
                self._shown.click(BUTTONS[button], count)
            case Press(at=at, duration_ms=duration_ms):
                self._drag((at,), duration_ms)
            case Hover(at=at):
                self._shown.move(at)
            case Swipe(start=start, end=end, duration_ms=duration_ms):
                parts = [step / _STEPS for step in range(_STEPS + 1)]
                self._drag(tuple(_between(start, end, part) for part in parts), duration_ms)
            case Scroll(at=at, direction=direction, amount=amount):
                self._shown.move(at)
                self._shown.click(WHEEL[direction], amount)
            case Type(text=text, clear=clear):
                self._type(text, clear)
            case Key(keys=keys):
                self._keyboard.press(keys)
            case Launch(app=app):
                self._launch(app)
            case _:
                raise AssertionError(act)

    def _drag(self, way: tuple[Point, ...], duration_ms: int) -> None:
        first, *rest = way
        self._shown.move(first)
        self._shown.button(BUTTONS["left"], down=True)
        try:
            for point in rest or [first]:
                if self._stop.wait(duration_ms / 1000 / max(len(rest), 1)):
                    return
                self._shown.move(point)
        finally:
            self._shown.button(BUTTONS["left"], down=False)

    def _type(self, text: str, clear: bool) -> None:
        if len(text) > DESKTOP_TEXT_MAX:
            raise CannotAct(f"more than {DESKTOP_TEXT_MAX:,} characters are not typed at once")
        if clear:
            self._keyboard.press(("Control", "a"))
            self._keyboard.press(("Delete",))
        try:
            self._keyboard.type(text)
        except CannotAct:
            # No key to spare for a character that the layout lacks: nothing has been typed yet.
            with clipboard.holding(text, self.name):
                self._keyboard.press(("Control", "v"))
                self._shown.wait_until_taken()
                # A program asks for what it pastes after it has taken the keys.
                time.sleep(DESKTOP_SETTLE_S)

    def _launch(self, app: str) -> None:
        if app not in self._programs:
            raise CannotAct(f"there is no application {app!r}")
        programs.start(self._programs[app], self.name)

    async def apps(self) -> tuple[str, ...]:
        """What was named, and what its folders have."""
        return tuple(sorted(self._programs))

    async def close(self) -> None:
        """Let go of the display. Twice is as once."""
        self._lost = self._lost or "it was closed"
        self._stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._let_go)

    def _let_go(self) -> None:
        self._worker.shutdown()
        self._shown.close()

    async def _work(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What the worker thread makes of it. Whoever stops waiting is let go when the keys are as they were."""
        if self._lost:
            raise DeviceLost(self._lost)
        self._stop.clear()
        working = asyncio.get_running_loop().run_in_executor(self._worker, lambda: call(*args, **named))
        try:
            done, _ = await asyncio.wait((working,), timeout=DESKTOP_ACT_S)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait((working,), timeout=DESKTOP_ACT_S)
            raise
        if not done:
            self._lost = "the X server does not answer"
            self._shown.sever()
            await asyncio.wait((working,))
        try:
            return await working
        except _GONE as reason:
            self._lost = self._lost or "the X server is gone"
            raise DeviceLost(self._lost) from reason


def _between(start: Point, end: Point, part: float) -> Point:
    return Point(round(start.x + (end.x - start.x) * part), round(start.y + (end.y - start.y) * part))
