"""What the agent sees: the screen when it is still, its elements numbered, and what changed since the last look.

A picture taken too early is the commonest cause of a wrong step (UI-TARS-desktop #318), and a fixed sleep the commonest
cure; here two looks that agree end the wait. Texts of the screen are data from strangers: they stand between marks
that no screen can foresee (``Sight.lines``).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import msgspec
from PIL import Image, ImageChops

from openmaas.apps.drivers.driver import Element, Screen
from openmaas.core.bounds import ELEMENT_CHARS_MAX, ELEMENTS_MAX, STILL_LOOK_S, STILL_S_MAX, STILL_SHARE
from openmaas.core.clock import Clock


class Sight(msgspec.Struct, frozen=True):
    """One observation. Element number ``n`` is ``screen.elements[n - 1]``; ``fresh`` are the numbers that are new."""

    screen: Screen
    changes: tuple[str, ...] = ()
    fresh: frozenset[int] = frozenset()
    still: bool = True

    def lines(self, mark: str) -> str:
        """The screen in words between two lines with the mark: where it is, what changed, and the elements as lines
        such as ``*[3] button "Pay"``. All of it is from strangers: no text of theirs begins a line or ends the mark."""
        screen, shown = self.screen, self.screen.elements[:ELEMENTS_MAX]
        lines = [f"{_line(screen.title or screen.app)} ({_line(screen.app)})"]
        if self.changes:
            lines.append(f"Changed: {_line('; '.join(self.changes))}")
        lines += [_told(number, each, number in self.fresh) for number, each in enumerate(shown, 1)]
        if len(screen.elements) > len(shown):
            lines.append(f"({len(screen.elements) - len(shown)} more are not listed; scroll to them)")
        return "\n".join((f"<screen {mark}>", *lines, f"</screen {mark}>"))

    @property
    def texts(self) -> str:
        """What the screen says, for a note."""
        return "\n".join(each.text for each in self.screen.elements if each.text)


def _line(text: str) -> str:
    """A text on one line, cut."""
    return " ".join(text.split())[:ELEMENT_CHARS_MAX]


def _told(number: int, each: Element, fresh: bool) -> str:
    words = [f'{"*" if fresh else ""}[{number}] {_line(each.role)} "{_line(each.text)}"']
    if each.secret:
        words.append("(secret)")
    elif each.value:
        words.append(f'= "{_line(each.value)}"')
    if each.checked is not None:
        words.append("checked" if each.checked else "not checked")
    states = (("focused", each.focused), ("scrolls", each.scrolls), ("off", not each.enabled))
    return " ".join([*words, *(word for word, so in states if so)])


class Observer:
    """The eyes of one agent. ``look`` gives the screen of the moment, as the agent may know it."""

    def __init__(self, look: Callable[[], Awaitable[Screen]], clock: Clock) -> None:
        self._look, self._clock = look, clock
        self._last: Screen | None = None

    async def look(self) -> Sight:
        """The screen once two looks in a row agree, or after ``STILL_S_MAX``. Raises ``DeviceLost``."""
        until = self._clock.mono_s() + STILL_S_MAX
        screen = await self._look()
        still = screen.secure
        while not still and self._clock.mono_s() < until:
            await asyncio.sleep(STILL_LOOK_S)
            again = await self._look()
            still, screen = alike(screen, again), again
        sight = compared(self._last, screen, still)
        self._last = screen
        return sight


def compared(before: Screen | None, now: Screen, still: bool = True) -> Sight:
    """The screen with what changed since ``before``, in words."""
    if before is None:
        return Sight(now, still=still)
    known = {_name(each): each for each in before.elements}
    names = [_name(each) for each in now.elements]
    fresh = frozenset(number for number, name in enumerate(names, 1) if name not in known)
    changes = []
    if before.app != now.app:
        changes.append(f"the application is now {now.app!r}")
    gone = [known[name].text for name in known.keys() - set(names) if known[name].text]
    if gone:
        changes.append(
            f"{len(gone)} gone: " + ", ".join(repr(" ".join(text.split())[:40]) for text in sorted(gone)[:5])
        )
    if fresh:
        changes.append(f"{len(fresh)} new")
    for name, each in zip(names, now.elements, strict=True):
        was = known.get(name)
        if was is not None and not each.secret and (was.value, was.checked) != (each.value, each.checked):
            changes.append(f"{each.role} {each.text[:40]!r} changed")
    if not changes and not same_picture(before.png, now.png):
        changes.append("the picture changed")
    return Sight(now, tuple(changes), fresh, still)


def _name(each: Element) -> tuple[str, str, str]:
    return (each.role, each.text, each.place)


def alike(one: Screen, other: Screen) -> bool:
    """Whether two screens show the same: the same elements in the same places, and hardly a pixel apart."""
    return one.app == other.app and one.elements == other.elements and same_picture(one.png, other.png)


def same_picture(one: bytes, other: bytes) -> bool:
    """Whether at most ``STILL_SHARE`` of the picture differs: a cursor blinks and a clock ticks on a still screen."""
    if one == other:
        return True
    pictures = [_small(each) for each in (one, other)]
    if pictures[0].size != pictures[1].size:
        return False
    apart = ImageChops.difference(*pictures).point(lambda value: 255 if value > 16 else 0)
    return apart.histogram()[255] <= STILL_SHARE * apart.width * apart.height


def _small(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("L")
    return picture.reduce(4) if min(picture.size) >= 64 else picture
