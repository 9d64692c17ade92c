"""Scrolling with a finger: the swipes that bring more of one direction into view."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openmaas.apps.drivers.acts import Point, Scroll, Swipe
from openmaas.apps.drivers.driver import Box, Element
from openmaas.core import bounds


def swipes(scroll: Scroll, elements: Sequence[Element], width: int, height: int) -> list[Swipe]:
    """Swipes through the middle of the smallest thing that scrolls below the point, or of the screen."""
    around = [each.box for each in elements if each.scrolls and each.box.holds(scroll.at)]
    box = min(around, key=lambda each: each.width * each.height, default=Box(0, 0, width, height))
    upright = scroll.direction in ("up", "down")
    reach = (box.height if upright else box.width) * bounds.SCROLL_SWIPE_SHARE
    distance = scroll.amount / 10 * (height if upright else width)
    count = max(1, math.ceil(distance / reach))
    half = round(min(distance / count, reach) / 2)
    # More of what is below shows when the finger goes up.
    step = half if scroll.direction in ("up", "left") else -half
    middle = box.middle
    start, end = (
        (Point(middle.x, middle.y - step), Point(middle.x, middle.y + step))
        if upright
        else (Point(middle.x - step, middle.y), Point(middle.x + step, middle.y))
    )
    return [Swipe(start, end, bounds.SCROLL_SWIPE_MS)] * count
