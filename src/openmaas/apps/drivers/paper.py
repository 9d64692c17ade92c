"""A device made of pages in memory: the fake that ships, as the echo engine does among engines. It keeps the whole
contract of a driver, draws its screen, and breaks on cue; agents are tested on it where no browser is wanted.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import msgspec
from PIL import Image, ImageDraw

from openmaas.apps.drivers.acts import Act, Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.checking import FINGER, check
from openmaas.apps.drivers.driver import Box, Element, Screen
from openmaas.core.errors import CannotAct, DeviceLost

WIDTH, HEIGHT = 360, 640
ROW = 40  #: pixels of one thing; they stand below one another
HOME = "home"


class Thing(msgspec.Struct, frozen=True):
    """One row of a page. Tapping it leads to the page ``goes``, checks or unchecks a checkbox, or sets the cursor."""

    role: str
    text: str
    goes: str = ""
    secret: bool = False


class Page(msgspec.Struct, frozen=True):
    """What one page shows. ``becomes``: the page that it turns into by itself after so many looks, as a pop-up does."""

    things: tuple[Thing, ...]
    app: str = "paper"
    secure: bool = False
    becomes: tuple[int, str] | None = None


class Paper:
    """``pages`` by name, of which ``home`` is the first; an application is the page of its name.

    ``lost_after``: looks and acts until the device is gone. ``done`` is everything that was done, and ``values`` what
    stands in the fields, by page and row.
    """

    kind = "phone"
    acts: frozenset[type[Act]] = frozenset({Tap, Press, Swipe, Scroll, Type, Key, Back, Home, Launch})

    def __init__(self, pages: Mapping[str, Page], name: str = "paper", lost_after: int | None = None) -> None:
        self.name = name
        self.done: list[Act] = []
        self.values: dict[tuple[str, int], str] = {}
        self._pages, self._left = dict(pages), lost_after
        self._history = [HOME]
        self._focus: tuple[str, int] | None = None
        self._top = 0
        self._looks = 0

    @property
    def page(self) -> str:
        """The name of the page that is shown."""
        return self._history[-1]

    async def look(self) -> Screen:
        """See ``Driver``."""
        self._use()
        page = self._pages[self.page]
        self._looks += 1
        if page.becomes and self._looks > page.becomes[0]:
            self._show(page.becomes[1])
            page = self._pages[self.page]
        elements = () if page.secure else tuple(self._elements(page))
        return Screen(_drawn(elements, page.secure), WIDTH, HEIGHT, page.app, self.page, elements, page.secure)

    async def do(self, act: Act) -> None:
        """See ``Driver``."""
        self._use()
        check(act, self.acts, WIDTH, HEIGHT, FINGER)
        match act:
            case Tap(at=at) | Press(at=at):
                self._tapped(at)
            case Type(text=text, clear=clear):
                if self._focus is None:
                    raise CannotAct("no field has the focus; tap one first")
                self.values[self._focus] = ("" if clear else self.values.get(self._focus, "")) + text
            case Scroll(direction=direction, amount=amount):
                self._scrolled({"down": 1, "up": -1}.get(direction, 0) * amount)
            case Swipe(start=start, end=end):
                self._scrolled(round((start.y - end.y) / ROW))
            case Back():
                if len(self._history) > 1:
                    self._history.pop()
                    self._arrived()
            case Home():
                self._history = [HOME]
                self._arrived()
            case Launch(app=app):
                if app not in self._pages:
                    raise CannotAct(f"there is no application {app!r}")
                self._show(app)
            case _:
                pass
        self.done.append(act)

    async def apps(self) -> tuple[str, ...]:
        """See ``Driver``."""
        return tuple(sorted(self._pages))

    async def close(self) -> None:
        """Nothing was changed."""

    def _use(self) -> None:
        if self._left is not None:
            if self._left <= 0:
                raise DeviceLost(self.name)
            self._left -= 1

    def _elements(self, page: Page) -> list[Element]:
        found = []
        for row, thing in enumerate(page.things):
            top = (row - self._top) * ROW
            if 0 <= top <= HEIGHT - ROW:
                at = (self.page, row)
                value = self.values.get(at, "")
                found.append(
                    Element(
                        role=thing.role,
                        text=thing.text,
                        box=Box(0, top, WIDTH, ROW),
                        value="" if thing.secret or thing.role == "checkbox" else value,
                        place=f"{self.page}/{row}",
                        focused=self._focus == at,
                        checked=bool(value) if thing.role == "checkbox" else None,
                        secret=thing.secret,
                    )
                )
        return found

    def _tapped(self, at: Point) -> None:
        page, row = self._pages[self.page], at.y // ROW + self._top
        if row >= len(page.things) or page.secure:
            return
        thing = page.things[row]
        if thing.role == "textbox":
            self._focus = (self.page, row)
        elif thing.role == "checkbox":
            self.values[(self.page, row)] = "" if self.values.get((self.page, row)) else "on"
        elif thing.goes:
            self._show(thing.goes)

    def _scrolled(self, rows: int) -> None:
        shown = HEIGHT // ROW
        self._top = max(0, min(self._top + rows, len(self._pages[self.page].things) - shown))

    def _show(self, page: str) -> None:
        assert page in self._pages, page
        self._history.append(page)
        self._arrived()

    def _arrived(self) -> None:
        self._focus, self._top, self._looks = None, 0, 0


def _drawn(elements: tuple[Element, ...], secure: bool) -> bytes:
    picture = Image.new("RGB", (WIDTH, HEIGHT), "black" if secure else "white")
    pen = ImageDraw.Draw(picture)
    for each in elements:
        box = each.box
        pen.rectangle((box.left, box.top, box.left + box.width - 1, box.top + box.height - 1), outline="grey")
        pen.text((box.left + 8, box.top + 12), f"{each.text} {each.value}".strip(), fill="black")
    into = io.BytesIO()
    picture.save(into, "PNG")
    return into.getvalue()
