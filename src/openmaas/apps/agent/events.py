"""What happens in a task, as values: what a terminal prints, a page shows, a trace keeps and a test asserts.

``step`` counts from 1; what belongs to no step has the last one's. ``at_ms`` is UTC milliseconds since 1970.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from openmaas.apps.agent.gate import Ruling
from openmaas.apps.drivers.driver import Element


class Verdict(StrEnum):
    """What became of the claim that a task is done."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    REFUTED = "refuted"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """One of them."""

    at_ms: int
    step: int = 0


class Began(Event, frozen=True, tag="began"):
    """The task, on a device, with a model."""

    task: str
    device: str
    kind: str
    model: str = ""


class Looked(Event, frozen=True, tag="looked"):
    """An observation. ``picture`` is the PNG; a trace keeps it in the file of this name."""

    app: str
    elements: tuple[Element, ...]
    changes: tuple[str, ...] = ()
    still: bool = True
    secure: bool = False
    picture: bytes = b""
    file: str = ""


class Thought(Event, frozen=True, tag="thought"):
    """What the model answered, and what it took: ``amount`` as the receipt has it."""

    thinking: str
    action: str
    request_id: str = ""
    tokens: int = 0
    amount: str = ""
    took_ms: int = 0


class Misread(Event, frozen=True, tag="misread"):
    """An answer that names no action, and what the model is told of it."""

    answer: str
    why: str


class Gated(Event, frozen=True, tag="gated"):
    """The gate's word, and the person's when they were asked."""

    action: str
    ruling: Ruling
    agreed: bool | None = None


class Acted(Event, frozen=True, tag="acted"):
    """What was done. ``act`` is the action as JSON, for a replay; ``target`` the element it touched."""

    action: str
    act: msgspec.Raw
    outcome: str = ""
    target: Element | None = None


class Nudged(Event, frozen=True, tag="nudged"):
    """It goes in circles, and is told so."""

    times: int


class Answered(Event, frozen=True, tag="answered"):
    """A person's answer to a question."""

    question: str
    answer: str


class Paused(Event, frozen=True, tag="paused"):
    """Nothing is done until a person says so: ``by`` says why (``person``, ``take_over``, ``secure``)."""

    by: str
    reason: str = ""


class Resumed(Event, frozen=True, tag="resumed"):
    """It goes on."""


class Ended(Event, frozen=True, tag="ended"):
    """How it ended. ``status``: ``done`` (a claim, with its verdict), ``gave_up``, ``failed`` or ``cancelled``; ``why``
    names what failed by a stable word: ``format``, ``limit``, ``circles``, ``device`` or ``model``."""

    status: str
    message: str = ""
    why: str = ""
    verdict: Verdict | None = None
    verdict_why: str = ""
    steps: int = 0
    tokens: int = 0
    amount: str = ""
    currency: str = ""
    took_ms: int = 0


AnyEvent = Began | Looked | Thought | Misread | Gated | Acted | Nudged | Answered | Paused | Resumed | Ended
