"""``python -m openglm.train.plot RUN… --into loss.svg``: the curves of runs side by side, also while they run.

Plain SVG, written by hand: two drawings do not need a library. A browser shows it in its light or dark scheme. Curves
are drawn thick through means, so that ten thousand steps are as easy to read as a hundred; what was held out is dotted.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from openglm.data import atomic
from openglm.errors import Refused
from openglm.train.log import read

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 52  # margins around the plane
POINTS = 240  # of a curve: more would be less than two pixels apart
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
    """One line: ``ys`` over ``xs``, both of one length; ``dotted`` belongs to the curve of that name before it."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Plane:
    """From figures to pixels."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """From the left edge."""
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """From the top edge."""
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def curves(run: Path, figure: str = "loss") -> list[Curve]:
    """One figure of a run's log: at its steps, and where there is one on held-out text.

    Raises:
        Refused: there is no log, or it does not have the figure.
    """
    lines = read(run / "log.jsonl")
    name = run.parent.name if run.name == "run" else run.name  # as recipes call it: then its parent's says more
    found = []
    for event in (None, "held_out"):
        mine = [line for line in lines if line.get("event") == event and figure in line]
        steps, values = [line["step"] for line in mine], [line[figure] for line in mine]
        if mine:
            found.append(Curve(name, _means(steps), _means(values), dotted=event is not None))
    if not found:
        raise Refused(
            f"{run}: its log has no {figure}", hint="Give the folder of a run, and a figure of its log.jsonl."
        )
    return found


def lines(drawn: Sequence[Curve], *, x: str, y: str) -> str:
    """Curves in one plane, with a legend; ``x`` and ``y`` name the axes, with their units."""
    xs, ys = ([value for part in parts for value in part] for parts in zip(*((c.xs, c.ys) for c in drawn), strict=True))
    plane = Plane(min(xs), max(*xs, min(xs) + 1), *_room(ys))
    names = list(dict.fromkeys(curve.name for curve in drawn))
    body = []
    for curve in drawn:
        colour = COLOURS[names.index(curve.name) % len(COLOURS)]
        points = " ".join(f"{plane.x(a):.1f},{plane.y(b):.1f}" for a, b in zip(curve.xs, curve.ys, strict=True))
        dots = ' stroke-dasharray="2 5" stroke-linecap="round"' if curve.dotted else ""
        body.append(f'<polyline points="{points}" stroke="{colour}"{dots}/>')
    for row, name in enumerate(names):
        at = TOP + 14 + 18 * row
        body.append(f'<circle cx="{WIDTH - RIGHT - 8}" cy="{at - 4}" r="5" fill="{COLOURS[row % len(COLOURS)]}"/>')
        body.append(_text(WIDTH - RIGHT - 20, at, name, "end"))
    across = [(plane.x(tick), _number(tick)) for tick in _ticks(plane.left, plane.right)]
    return _drawing(plane, across, body, x, y)


def spreads(values: Mapping[str, Sequence[float]], *, y: str) -> str:
    """For each name its values as dots, their mean, and a bar of one standard deviation (of the sample) both ways."""
    middles = {name: mean_and_deviation(found) for name, found in values.items()}
    ends = [end for middle, width in middles.values() for end in (middle - width, middle + width)]
    plane = Plane(0, len(values), *_room([*ends, *(value for found in values.values() for value in found)]))
    body, across = [], []
    for number, (name, found) in enumerate(values.items()):
        x, colour = plane.x(number + 0.5), COLOURS[number % len(COLOURS)]
        middle, width = middles[name]
        low, high = plane.y(middle - width), plane.y(middle + width)
        body.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-width="2"/>')
        body.append(f'<path d="M{x - 14:.1f} {plane.y(middle):.1f}h28" stroke="{colour}" stroke-width="3"/>')
        body += [f'<circle cx="{x + 22:.1f}" cy="{plane.y(value):.1f}" r="3" fill="{colour}"/>' for value in found]
        across.append((x, name))
    return _drawing(plane, across, body, "", y)


def mean_and_deviation(found: Sequence[float]) -> tuple[float, float]:
    """Of a sample; one value by itself deviates by 0."""
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0


def _drawing(plane: Plane, across: list[tuple[float, str]], body: list[str], x: str, y: str) -> str:
    bottom = HEIGHT - BOTTOM
    grid = []
    for tick in _ticks(plane.low, plane.high):
        at = plane.y(tick)
        grid.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        grid.append(_text(LEFT - 8, at + 4, _number(tick), "end"))
    grid += [_text(at, bottom + 20, name, "middle") for at, name in across]
    middle = (TOP + bottom) / 2
    grid.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, "middle"))
    grid.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, y, "middle")}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    parts = [head, f"<title>{escape(y)}</title><style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{HEIGHT}"/>']
    return "\n".join([*parts, *grid, *body, "</svg>\n"])


def _text(x: float, y: float, said: str, where: str) -> str:
    return f'<text class="{where}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'


def _means(values: Sequence[float]) -> list[float]:
    """At most ``POINTS``, each the mean of as many neighbours."""
    size = max(1, math.ceil(len(values) / POINTS))
    return [statistics.fmean(values[start : start + size]) for start in range(0, len(values), size)]


def _room(values: Sequence[float]) -> tuple[float, float]:
    """From a little below the least to a little above the most."""
    least, most = min(values), max(values)
    more = (most - least) * 0.06 or abs(most) * 0.06 or 1.0
    return least - more, most + more


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two: steps of 1, 2 or 5 of a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser(prog="python -m openglm.train.plot", description=(__doc__ or "").splitlines()[0])
    asked.add_argument("runs", type=Path, nargs="+", help="folders with a log.jsonl")
    asked.add_argument("--figure", default="loss", help="of the log: loss, accuracy, norm, tokens_per_s, mfu …")
    asked.add_argument("--into", type=Path, required=True, help="the SVG file")
    told = asked.parse_args()
    try:
        drawn = [curve for run in told.runs for curve in curves(run, told.figure)]
    except Refused as refused:
        sys.exit(str(refused))
    unit = " (nats a token)" if told.figure == "loss" else ""
    atomic.write(told.into, lines(drawn, x="step (dotted: held out)", y=told.figure + unit).encode())


if __name__ == "__main__":
    main()
