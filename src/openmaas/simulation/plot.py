"""Curves as SVG, written by hand: a browser shows them in its light or dark scheme. Axes may be logarithmic.

It looks like ``openglm.train.plot`` does, and shares no line with it: openglm is a package of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 52  # margins around the plane
TICKS = 6
#: Told apart by colour-blind readers (Okabe and Ito 2008), and seen on white as on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #333 } rect { fill: #fff } .grid { stroke: #ccc }
.end { text-anchor: end } .middle { text-anchor: middle } polyline { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } rect { fill: #111 } .grid { stroke: #444 } }
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: ``ys`` over ``xs``, both of one length; ``dotted`` for what is only there to compare with."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From a figure to pixels: ``low`` lies at ``begin``, ``high`` at ``end``."""

    name: str
    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Where ``value`` lies."""
        low, high, here = (_log(each) if self.logarithmic else each for each in (self.low, self.high, value))
        return self.begin + (here - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round numbers: steps of 1, 2 or 5 of a power of ten; powers of ten, or of two if those are fewer than two."""
        if not self.logarithmic:
            rough = (self.high - self.low) / TICKS
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
            return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        tens = _powers(10, self.low, self.high)
        return tens if len(tens) > 2 else _powers(2, self.low, self.high)


def lines(
    curves: Sequence[Curve], *, x: str, y: str, log_x: bool = False, log_y: bool = False, from_zero: bool = False
) -> str:
    """Curves in one plane with a legend; ``x`` and ``y`` name the axes and units. ``from_zero`` begins y at 0."""
    xs = [value for curve in curves for value in curve.xs]
    ys = [value for curve in curves for value in curve.ys]
    if from_zero:
        ys.append(0.0)
    across = Axis(x, *_room(xs, log_x, 0.0), LEFT, WIDTH - RIGHT, log_x)
    up = Axis(y, *_room(ys, log_y, 0.06), HEIGHT - BOTTOM, TOP, log_y)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    parts = [head, f"<title>{escape(y)}</title><style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{HEIGHT}"/>']
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, at + 4, _number(tick), "end"))
    parts += [_text(across.at(tick), HEIGHT - BOTTOM + 20, _number(tick), "middle") for tick in across.ticks()]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, y, "middle")}</g>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in zip(curve.xs, curve.ys, strict=True))
        dots = ' stroke-dasharray="2 5" stroke-linecap="round"' if curve.dotted else ""
        parts.append(f'<polyline points="{points}" stroke="{colour}"{dots}/>')
        at = TOP + 14 + 18 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT - 8}" cy="{at - 4}" r="5" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT - 20, at, curve.name, "end"))
    return "\n".join([*parts, "</svg>\n"])


def _room(values: Sequence[float], logarithmic: bool, share: float) -> tuple[float, float]:
    """From a little below the least to a little above the most."""
    if logarithmic:
        values = [_log(value) for value in values]
    least, most = min(values), max(values)
    more = (most - least) * share
    if most == least:
        more = abs(most) * 0.06 or 1.0
    low, high = least - more, most + more
    return (10**low, 10**high) if logarithmic else (low, high)


def _log(value: float) -> float:
    return math.log10(max(value, 1e-3))  # a millisecond: less is not worth a decade of a plot


def _powers(base: int, low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    return [float(base) ** power for power in range(first, last + 1)]


def _text(x: float, y: float, said: str, where: str) -> str:
    return f'<text class="{where}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
