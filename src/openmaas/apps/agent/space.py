"""What a model means by its numbers. Each model was trained on one of these spaces, and most peers' wrong taps come of
another being assumed: a space is a property of the model, written down and tested, never guessed from an answer.

The picture that is sent may be smaller than the screen; the numbers of ``PIXEL`` models are pixels of that picture.
Sources: Open-AutoGLM (0 to 999), UI-TARS 1.0 (thousandths) and 1.5 (pixels after Qwen2.5-VL's resizing to multiples of
28), Anthropic's and OpenAI's computer use (pixels of the picture as sent).
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from openmaas.apps.drivers.acts import Point
from openmaas.core.errors import AnswerUnreadable


class Unit(StrEnum):
    """One step of a coordinate."""

    THOUSANDTH = "thousandth"
    PIXEL = "pixel"


class Space(msgspec.Struct, frozen=True):
    """A model's coordinates. ``factor``: sides of the picture are multiples of it; ``pixels_max`` 0 sends the screen as
    it is."""

    unit: Unit
    factor: int = 1
    pixels_max: int = 0

    def picture(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture to send of a screen of this size."""
        shrink = 1.0
        if self.pixels_max and width * height > self.pixels_max:
            shrink = math.sqrt(self.pixels_max / (width * height))
        to = math.floor if shrink < 1.0 else round
        return tuple(max(self.factor, to(side * shrink / self.factor) * self.factor) for side in (width, height))  # type: ignore[return-value]

    def point(self, x: float, y: float, width: int, height: int) -> Point:
        """The pixel that is meant on a screen of this size. Raises ``AnswerUnreadable`` for one that is off it."""
        if self.unit is Unit.PIXEL:
            sides: tuple[float, float] = self.picture(width, height)
        else:
            sides = (1000.0, 1000.0)
        if not (0 <= x <= sides[0] and 0 <= y <= sides[1]):  # NaN is neither
            raise AnswerUnreadable(f"({x:g}, {y:g}) is off the screen; x goes to {sides[0]:g} and y to {sides[1]:g}")
        return Point(
            *(min(int(at * side / of), side - 1) for at, side, of in ((x, width, sides[0]), (y, height, sides[1])))
        )


#: Open-AutoGLM and UI-TARS 1.0.
THOUSANDTHS = Space(Unit.THOUSANDTH)
#: UI-TARS 1.5, as Qwen2.5-VL sees: at most 16,384 patches of 28 × 28.
UI_TARS_15 = Space(Unit.PIXEL, factor=28, pixels_max=16_384 * 28 * 28)
#: Computer use: Anthropic advises pictures of about XGA and no larger than 1.15 megapixels.
SCREENSHOT = Space(Unit.PIXEL, pixels_max=1_150_000)
