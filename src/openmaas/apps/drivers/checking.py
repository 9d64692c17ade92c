"""What every driver checks of an act before it does it: all of them refuse the same things in the same words."""

from __future__ import annotations

from openmaas.apps.drivers.acts import KEY_NAMES, Act, Hover, Key, Point, Press, Scroll, Swipe, Tap
from openmaas.core.errors import CannotAct

BUTTONS = ("left", "right", "middle")
FINGER = ("left",)
DIRECTIONS = ("up", "down", "left", "right")


def check(act: Act, acts: frozenset[type[Act]], width: int, height: int, buttons: tuple[str, ...] = BUTTONS) -> None:
    """Raises ``CannotAct`` for an act that the device has not, or that lies off a screen of this size."""
    if type(act) not in acts:
        raise CannotAct(f"this device has no {type(act).__name__.lower()}")
    for point in _points(act):
        if not (0 <= point.x < width and 0 <= point.y < height):
            raise CannotAct(f"({point.x}, {point.y}) is off the screen, which has {width} × {height} pixels")
    match act:
        case Tap(button=button, count=count):
            if button not in buttons:
                raise CannotAct(f"there is no button {button!r}, only {', '.join(buttons)}")
            if not 1 <= count <= 3:
                raise CannotAct("a tap is done one to three times")
        case Scroll(direction=direction, amount=amount):
            if direction not in DIRECTIONS:
                raise CannotAct(f"there is no direction {direction!r}, only {', '.join(DIRECTIONS)}")
            if not 1 <= amount <= 100:
                raise CannotAct("a scroll goes 1 to 100 notches")
        case Key(keys=keys):
            unknown = [key for key in keys if len(key) != 1 and key not in KEY_NAMES]
            if not keys or unknown:
                raise CannotAct(f"there is no key {(unknown or [''])[0]!r}")
        case _:
            pass


def _points(act: Act) -> tuple[Point, ...]:
    match act:
        case Tap(at=at) | Press(at=at) | Hover(at=at) | Scroll(at=at):
            return (at,)
        case Swipe(start=start, end=end):
            return (start, end)
        case _:
            return ()
