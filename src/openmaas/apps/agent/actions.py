"""The one schema of what an agent may do next; every grammar is read into it (``grammars/``).

Either a device is told to act (``drivers/acts.py``), or one of the actions here is taken.
"""

from __future__ import annotations

import msgspec

from openmaas.apps.drivers.acts import Act, AnyAct, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type


class Own(msgspec.Struct, frozen=True, tag_field="act", forbid_unknown_fields=True):
    """What is not one act of a device."""


class Fill(Own, frozen=True, tag="fill"):
    """Tap a field, take out what stands there, and type: the two acts that belong together most often."""

    at: Point
    text: str


class Wait(Own, frozen=True, tag="wait"):
    """Look again later: something is loading."""

    duration_s: float = 1.0


class Note(Own, frozen=True, tag="note"):
    """Remember this; with no text, what the screen says now."""

    text: str = ""


class Recall(Own, frozen=True, tag="recall"):
    """Write something from the notes: a summary, a comparison. What is written comes back with the next observation."""

    instruction: str


class Ask(Own, frozen=True, tag="ask"):
    """Ask the person, who alone can choose or knows."""

    question: str


class TakeOver(Own, frozen=True, tag="take_over"):
    """The person must do the next part by hand: a login, a captcha, a password."""

    reason: str = ""


class Finish(Own, frozen=True, tag="finish"):
    """The end: a claim, which ``checking.py`` has verified. ``succeeded`` false gives up and says why."""

    message: str = ""
    succeeded: bool = True


Action = AnyAct | Fill | Wait | Note | Recall | Ask | TakeOver | Finish


class Said(msgspec.Struct, frozen=True):
    """What a model answered, read: why, and what next. ``warned``: its own word that a person must agree to this."""

    action: Action
    thinking: str = ""
    warned: str = ""


def told(action: Act | Own) -> str:
    """The action in a few words, for a log, a person and the model's own memory."""
    match action:
        case Tap(at=at, button=button, count=count):
            times = {1: "tap", 2: "double tap", 3: "triple tap"}.get(count, "tap")
            return f"{'' if button == 'left' else button + ' '}{times} at ({at.x}, {at.y})"
        case Press(at=at):
            return f"long press at ({at.x}, {at.y})"
        case Hover(at=at):
            return f"hover at ({at.x}, {at.y})"
        case Swipe(start=start, end=end):
            return f"swipe from ({start.x}, {start.y}) to ({end.x}, {end.y})"
        case Scroll(direction=direction, amount=amount):
            return f"scroll {direction} by {amount}"
        case Type(text=text, clear=clear):
            return f"{'clear the field and ' if clear else ''}type {text!r}"
        case Key(keys=keys):
            return f"press {'+'.join(keys)}"
        case Launch(app=app):
            return f"open {app!r}"
        case Fill(at=at, text=text):
            return f"type {text!r} into the field at ({at.x}, {at.y})"
        case Wait(duration_s=duration_s):
            return f"wait {duration_s:g} s"
        case Note(text=text):
            return f"note {text!r}" if text else "note what the screen says"
        case Recall(instruction=instruction):
            return f"write from the notes: {instruction}"
        case Ask(question=question):
            return f"ask: {question}"
        case TakeOver(reason=reason):
            return f"hand over: {reason}"
        case Finish(message=message, succeeded=succeeded):
            return f"{'finish' if succeeded else 'give up'}: {message}"
        case _:
            return type(action).__name__.lower()
