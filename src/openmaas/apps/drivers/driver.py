"""The contract of a driver, which ``tests/contracts/test_drivers.py`` holds every driver to.

A driver operates one device, and one agent at a time holds it. It knows no model and no policy: it looks and it acts.
What a driver changes on the device for its own sake (an input method, a window of its own) is as before once it is
closed, on every way out.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from openmaas.apps.drivers.acts import Act, Point


class Box(msgspec.Struct, frozen=True):
    """A rectangle in pixels of the screenshot."""

    left: int
    top: int
    width: int
    height: int

    @property
    def middle(self) -> Point:
        """Where a tap on it goes."""
        return Point(self.left + self.width // 2, self.top + self.height // 2)

    def holds(self, point: Point) -> bool:
        """Whether the point lies in it."""
        return self.left <= point.x < self.left + self.width and self.top <= point.y < self.top + self.height


class Element(msgspec.Struct, frozen=True):
    """Something on the screen that a person could name: a button, a field, a text.

    ``role`` is one of ARIA's (button, link, textbox, checkbox, radio, combobox, option, tab, menuitem, slider, image,
    text, …), ``text`` what it says or is called, ``value`` what stands in a field. What a ``secret`` field holds is
    never told. ``place`` tells elements with the same role and text apart and stays the same while the screen does: an
    Android resource id, a path in the page.
    """

    role: str
    text: str
    box: Box
    value: str = ""
    place: str = ""
    enabled: bool = True
    focused: bool = False
    checked: bool | None = None
    scrolls: bool = False
    secret: bool = False


class Screen(msgspec.Struct, frozen=True):
    """What a device shows at one moment.

    ``png`` has ``width`` × ``height`` pixels. ``app`` is a phone's package, a browser's address, a desktop's window
    title. ``secure`` is true when the device keeps the picture from us: it is black, and the elements may be missing.
    """

    png: bytes
    width: int
    height: int
    app: str
    title: str = ""
    elements: tuple[Element, ...] = ()
    secure: bool = False


class Driver(Protocol):
    """A device that can be looked at and acted upon.

    Both raise ``DeviceLost`` when it no longer answers: nothing more will come of it, and a new driver must be opened.
    """

    @property
    def name(self) -> str:
        """Which device: its serial number or address."""

    @property
    def kind(self) -> str:
        """``phone``, ``browser`` or ``desktop``."""

    @property
    def acts(self) -> frozenset[type[Act]]:
        """What it can be told to do."""

    async def look(self) -> Screen:
        """The screen now. Not waited for: what waits until it is still is ``agent/observing.py``."""

    async def do(self, act: Act) -> None:
        """Do it, and return when the device has taken it.

        Raises ``CannotAct``, with a reason that the model can use, if the device cannot or would not: a point off the
        screen, an application that is not there, text without a focused field where the device says so.
        """

    async def apps(self) -> tuple[str, ...]:
        """Names that ``Launch`` takes, sorted; empty in a browser, where it takes addresses."""

    async def close(self) -> None:
        """Put back what was changed for the driver's sake, and let go of the device. Twice is as once."""
