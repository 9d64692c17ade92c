"""The record of a run: a line of JSON for each step, a line for the reader now and then, and what was out of the way.

A run that goes on from a checkpoint first drops the lines of steps that it will take again.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Self, TextIO

from openglm.bounds import LINE_S
from openglm.data import atomic

WINDOW = 100  # steps that a spike is measured against
SPIKE = 5.0  # deviations above their mean


def read(path: Path) -> list[dict[str, Any]]:
    """All lines so far, oldest first; a last line that was cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.endswith(b"}")]


class Log:
    """Writes ``log.jsonl`` in a run's folder and tells the reader on ``screen``; all ranks but one are silent."""

    def __init__(
        self, folder: Path, steps: int, done: int, screen: TextIO | None = None, *, writes: bool = True
    ) -> None:
        """``done`` steps are behind us: later lines belong to a walk that was cut off."""
        self._steps, self._screen = steps, screen if screen is not None else sys.stderr
        self._file: TextIO | None = None
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._began, self._first, self._said = time.monotonic(), done, 0.0
        if writes:
            path = folder / "log.jsonl"
            kept = [line for line in read(path) if line["step"] <= done]
            # Another file in its place: who follows the log sees that it begins anew, and nobody ever sees half of it.
            atomic.write(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
            self._file = path.open("a")
            self._recent.extend(line["loss"] for line in kept if "event" not in line)

    def __enter__(self) -> Self:
        """Open until the walk ends, however it ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """No more lines."""
        if self._file:
            self._file.close()

    def step(self, step: int, **figures: float) -> None:
        """One step's figures, ``loss`` among them."""
        spike = self._spike(figures["loss"])
        self._recent.append(figures["loss"])
        self._write(step=step, **figures, **({"spike": spike} if spike else {}))
        now = time.monotonic()
        if spike or now - self._said >= LINE_S or step == self._steps:
            self._said = now
            told = "  ".join(f"{name} {_short(value)}" for name, value in figures.items())
            left_s = (now - self._began) / max(1, step - self._first) * (self._steps - step)
            mark = f"  ! a spike: {spike:.1f} deviations" if spike else ""
            self._say(f"· step {step} of {self._steps}  {told}  {_clock(left_s)} left{mark}")

    def event(self, step: int, name: str, **figures: float) -> None:
        """Something besides a step: an evaluation, a checkpoint."""
        self._write(step=step, event=name, **figures)
        told = "  ".join(f"{key} {_short(value)}" for key, value in figures.items())
        self._say(f"· step {step} of {self._steps}  {name}  {told}")

    def _spike(self, loss: float) -> float:
        """How many deviations above the recent steps, if that is too many."""
        if len(self._recent) < WINDOW // 2:
            return 0.0
        mean, spread = statistics.fmean(self._recent), statistics.pstdev(self._recent)
        above = (loss - mean) / max(spread, 1e-3 * abs(mean), 1e-9)
        return round(above, 2) if above > SPIKE else 0.0

    def _write(self, **line: object) -> None:
        if self._file:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _say(self, text: str) -> None:
        if self._file:
            print(text, file=self._screen, flush=True)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
