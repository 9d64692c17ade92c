"""What hands can do on a device. Every driver takes these values and nothing else.

A point is in pixels of the screenshot that was taken last, from its upper left corner: what a model means by its
numbers has been settled before (``agent/space.py``), and an element's number has become its middle.
"""

from __future__ import annotations

import msgspec


class Point(msgspec.Struct, frozen=True):
    """A place on the screen, in pixels of the screenshot."""

    x: int
    y: int


class Act(msgspec.Struct, frozen=True, tag_field="act", forbid_unknown_fields=True):
    """One thing that a device is told to do."""


class Tap(Act, frozen=True, tag="tap"):
    """A finger's tap or a mouse's click. ``count`` 2 is a double tap; a phone has the left button alone."""

    at: Point
    button: str = "left"  # left, right or middle
    count: int = 1


class Press(Act, frozen=True, tag="press"):
    """A long press."""

    at: Point
    duration_ms: int = 800


class Hover(Act, frozen=True, tag="hover"):
    """The mouse goes there and does nothing; a phone has no such thing."""

    at: Point


class Swipe(Act, frozen=True, tag="swipe"):
    """A finger's swipe or a mouse's drag, button held, from one place to another."""

    start: Point
    end: Point
    duration_ms: int = 300


class Scroll(Act, frozen=True, tag="scroll"):
    """The content below the point moves so that more of what is in this direction shows, by about ``amount`` notches.

    A notch is a tenth of the screen.
    """

    at: Point
    direction: str  # up, down, left or right
    amount: int = 5


class Type(Act, frozen=True, tag="type"):
    """Text in any script into what has the focus. ``clear`` takes out first what stands there."""

    text: str
    clear: bool = False


class Key(Act, frozen=True, tag="key"):
    """Keys pressed together, named as the W3C's ``KeyboardEvent.key`` has it: ``("Control", "a")``, ``("Enter",)``."""

    keys: tuple[str, ...]


class Back(Act, frozen=True, tag="back"):
    """Back: a phone's button, a browser's history."""


class Home(Act, frozen=True, tag="home"):
    """The home screen; in a browser the page it began with."""


class Launch(Act, frozen=True, tag="launch"):
    """Open the application of this name, as ``Driver.apps`` has it; in a browser, the address."""

    app: str


#: Any of them, for whoever reads one back.
AnyAct = Tap | Press | Hover | Swipe | Scroll | Type | Key | Back | Home | Launch
#: Names that ``Key`` may have besides single characters.
KEY_NAMES = frozenset(
    {
        *("Control", "Shift", "Alt", "Meta", "Enter", "Tab", "Escape", "Backspace", "Delete", "Insert", " "),
        *("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"),
        *(f"F{number}" for number in range(1, 13)),
    }
)
