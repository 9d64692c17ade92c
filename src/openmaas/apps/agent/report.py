"""A trace as one HTML file: each step with the screen before and after, what was thought, what the gate said, what it
cost. Pictures are inside the file, and nothing is fetched: it can be mailed to who was not there."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

import jinja2
import msgspec

from openmaas.apps.agent.events import (
    Acted,
    Answered,
    AnyEvent,
    Began,
    Ended,
    Gated,
    Looked,
    Misread,
    Nudged,
    Paused,
    Thought,
)
from openmaas.core.clock import iso_utc


class Shown(msgspec.Struct):
    """One step as the page has it."""

    number: int
    at: str = ""
    before: str = ""
    after: str = ""
    app: str = ""
    changes: tuple[str, ...] = ()
    thinking: str = ""
    action: str = ""
    outcome: str = ""
    cost: str = ""
    remarks: list[str] = []
    box: tuple[float, float, float, float] | None = None


@lru_cache(1)
def _page() -> jinja2.Template:
    source = (files(__package__) / "report.html.jinja").read_text("utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)


def report(events: Iterable[AnyEvent], language: str = "en") -> str:
    """The page."""
    began: Began | None = None
    ended: Ended | None = None
    steps: dict[int, Shown] = {}
    for event in events:
        step = steps.setdefault(event.step, Shown(event.step))
        match event:
            case Began():
                began = event
            case Ended():
                ended = event
            case Looked():
                picture = _inline(event.picture)
                if event.step - 1 in steps:
                    steps[event.step - 1].after = picture
                step.before, step.app, step.changes, step.at = picture, event.app, event.changes, iso_utc(event.at_ms)
            case Thought():
                step.thinking, step.action = event.thinking, event.action
                step.cost = f"{event.tokens} tokens, {event.amount}, {event.took_ms / 1000:.1f} s"
            case Acted():
                step.action, step.outcome = event.action, event.outcome
                if event.target is not None:
                    box = event.target.box
                    step.box = (box.left, box.top, box.width, box.height)
            case Misread():
                step.remarks.append(f"not read ({event.why}): {event.answer}")
            case Gated():
                words = {None: "", True: ", the person agreed", False: ", the person said no"}[event.agreed]
                step.remarks.append(f"gate: {event.ruling.answer.name.lower()} ({'; '.join(event.ruling.why)}){words}")
            case Answered():
                step.remarks.append(f"asked: {event.question} — {event.answer}")
            case Paused():
                step.remarks.append(f"paused ({event.by}) {event.reason}")
            case Nudged():
                step.remarks.append(f"the same {event.times} times on the same screen")
            case _:
                pass
    shown = [each for number, each in sorted(steps.items()) if number > 0]
    return str(_page().render(began=began, ended=ended, steps=shown, language=language))


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""
