"""What the relay asks of a wire format, and what every one of them shares.

Every engine speaks the OpenAI wire. A dialect reads a caller's bytes as an ``Ask``, which can say them again for an
engine, and gives the engine's answer back as a ``Reading``. The OpenAI dialect passes bytes through; the others go by
the values of ``conversation`` and ``pieces``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from openmaas.core import errors as e
from openmaas.core.bounds import SAID_BYTES_MAX
from openmaas.core.errors import OpenmaasError
from openmaas.core.rates import Standing
from openmaas.core.usage import Units, Usage

#: Names of the wire for the cap on the output: the old one, that all but a few vendors know, and the new one for chat.
MAX_TOKENS, MAX_COMPLETION_TOKENS = "max_tokens", "max_completion_tokens"
#: The kind of what is made of several requests, such as a search and a chat: the control plane asks them one by one.
COMPOSED = "composed"
#: In which errors can be told.
SPOKEN = ("en", "zh")
_WEIGHT = re.compile(r"[01](\.\d{0,3})?")
#: Sent again they would fail again; the header is what SDKs and coding tools obey.
NO_RETRY = (e.InsufficientFunds, e.Conflict, e.OverLimit, e.NotRecognised, e.NotAllowed)


class Manner(msgspec.Struct, frozen=True):
    """How an engine wants to be spoken to, beyond the wire that all share. ``caps``: by which names it is told how much
    it may generate; ``thinking``: how it is told to think or not (``template``: ``chat_template_kwargs``, ``zhipu``:
    ``thinking``, ``effort``: ``reasoning_effort``, empty: it cannot be told); ``calls``: the form in which it leaves
    calls in its text, empty when it reads them itself; ``forces``: it keeps a ``tool_choice`` that demands a call."""

    caps: tuple[str, ...] = (MAX_TOKENS,)
    thinking: str = ""
    calls: str = ""
    forces: bool = True


PLAIN = Manner()
#: Members of a request that not every engine knows; a replica says which of them it lacks.
SPECIAL = frozenset({"echo", "logit_bias", "logprobs", "suffix", "top_logprobs"})
#: Where an engine takes each kind of request, below its base URL. For searches the wire is Zhipu's: OpenAI has none.
TARGETS = {
    "chat": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
    "moderations": b"/moderations",
    "web_search": b"/web_search",
}


class Ticket(msgspec.Struct, frozen=True):
    """What an answer is called, since when (UTC ms) it is under way, and which model gives it: its own name, whatever
    it was asked for by."""

    request_id: str
    opened_ms: int
    model: str = ""


class Count(msgspec.Struct, frozen=True):
    """The tokens of a prompt, and how many fit. ``estimated`` when no engine counted them."""

    tokens: int
    context_tokens: int
    estimated: bool = False


class Offer(msgspec.Struct, frozen=True):
    """A model as a list shows it."""

    name: str
    created_ms: int
    context_tokens: int


class Memory(msgspec.Struct):
    """What a request has to do with answers that are kept. It says from which one it goes on (``follows``, or empty),
    whether its own is to be kept, and its input as it is then kept; ``follow`` is told the turns before it, what was
    asked and answered, oldest first. The relay settles ``keeps`` and for how long; ``answer`` is there once it has
    ended."""

    follows: str
    keeps: bool
    asked: bytes
    follow: Callable[[list[tuple[bytes, bytes]]], None]
    answer_id: str = ""
    answer: bytes = b""
    term_ms: int = 0


class Reading(Protocol):
    """A stream from an engine on its way to the caller. ``ended`` is true when what ``feed`` returned is the end of the
    answer; ``delivering`` until the client is gone."""

    delivering: bool
    ended: bool

    @property
    def usage(self) -> Usage | None:
        """The engine's count, once it told."""

    def feed(self, block: bytes) -> bytes:
        """The next bytes of the engine; returns what the caller may see now. Raises ``EngineFailed``."""

    def finish(self) -> bytes:
        """The engine ended; returns what is left to say."""

    def delivered(self) -> Usage:
        """An estimate of what the caller was sent, for when the engine never told."""

    def broken(self, error: OpenmaasError) -> bytes | None:
        """How an answer that has begun ends when ``error`` breaks it off; None: as ``Dialect.broken`` says it."""


class Ask(Protocol):
    """What a request asks for, as far as metering and routing must know. ``kind`` names the engine's endpoint, or is
    ``COMPOSED``; ``units`` are the most that it can use of what is no token, and what it did use when it is answered
    and the engine does not say."""

    kind: str
    model: str
    stream: bool
    choices: int
    size_bytes: int
    units: Units

    @property
    def needs(self) -> frozenset[str]:
        """What it asks for that not every engine can do: some of ``SPECIAL``."""

    @property
    def memory(self) -> Memory | None:
        """None where answers are never kept."""

    def prompt_tokens_max(self, context_tokens: int) -> int:
        """The most that the prompt can have."""

    def output_tokens_max(self, default: int, context_tokens: int) -> int:
        """The most that each choice can generate."""

    def opening(self) -> bytes:
        """The prompt as bytes, of which equal ones begin equal prompts: what a cache of prefixes goes by."""

    def forward(self, served_name: str, output_tokens: int, manner: Manner) -> bytes:
        """The body for the engine, in which ``output_tokens`` caps what it generates."""

    def reading(self, served_name: str, ticket: Ticket) -> Reading:
        """How a streamed answer is given back."""

    def whole(self, body: bytes, served_name: str, ticket: Ticket) -> bytes:
        """How an answer that is not streamed is given back. Raises ``EngineFailed`` for what is none."""


class Signet(Protocol):
    """Signs and seals what a caller carries for us, so that any relay knows it again (``identity/signet.py``)."""

    def sign(self, text: str, purpose: str) -> str:
        """A signature."""

    def verify(self, text: str, purpose: str, signature: str) -> bool:
        """True when it is ours."""

    def seal(self, text: str, purpose: str) -> str:
        """Readable by us only."""

    def open(self, sealed: str, purpose: str) -> str | None:
        """What was sealed; None when it is not of ours."""


class Dialect(Protocol):
    """A wire format. ``language`` is the first of a caller's Accept-Language, empty without one. ``told_in_events`` are
    the errors that a caller who takes nothing but events (``Accept``) is told as a stream that broke off."""

    @property
    def told_in_events(self) -> tuple[type[OpenmaasError], ...]:
        """Empty for most."""

    def ask(self, kind: str, body: bytes | bytearray) -> Ask:
        """A request's body as what it asks for. Raises ``BadRequest``."""

    def refusal(self, error: OpenmaasError, language: str, request_id: str) -> tuple[int, bytes, bytes]:
        """Status, extra header lines and JSON body of an error."""

    def broken(self, error: OpenmaasError, language: str, request_id: str) -> bytes:
        """The end of a stream that an error broke off."""

    def tag(self, request_id: str) -> bytes:
        """The header lines that name a request."""

    def listed(self, offers: list[Offer], query: str) -> bytes:
        """The models that a caller may ask for; ``query`` is what the request says after its path."""

    def described(self, offer: Offer) -> bytes:
        """One of them."""


def told_by_headers(error: OpenmaasError) -> bytes:
    """The header lines that go with an error in every dialect: when to come again, and whether at all;
    what a path takes."""
    headers = b""
    if error.retry_after_s is not None:
        wait_ms = math.ceil(error.retry_after_s * 1000)
        headers += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (max(1, math.ceil(wait_ms / 1000)), wait_ms)
    if isinstance(error, e.MethodUnknown) and error.allowed:
        headers += b"allow: %b\r\n" % ", ".join(error.allowed).encode()  # RFC 9110 §15.5.6
    if isinstance(error, e.LimitReached):
        headers += rate_headers(error.standings)
    if isinstance(error, NO_RETRY):
        headers += b"x-should-retry: false\r\n"
    return headers


def rate_headers(standings: Iterable[Standing]) -> bytes:
    """How a caller stands with its limits. https://platform.openai.com/docs/guides/rate-limits, "in headers"."""
    lines = b""
    for standing in standings:
        kind = standing.kind.encode()
        lines += b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %dms\r\n" % (
            *(kind, standing.amount, kind, standing.remaining),
            *(kind, math.ceil(standing.reset_s * 1000)),
        )
    return lines


def language_of(headers: dict[bytes, bytes]) -> str:
    """Which of ``SPOKEN`` the caller likes best, by the weights of ``Accept-Language`` (RFC 9110 §12.5.4) and then in
    its order, without regions; empty for whatever the dialect speaks by itself, ``en`` when only others are wanted."""
    wanted = headers.get(b"accept-language", b"").decode("latin-1").lower()
    weights: dict[str, float] = {}
    for each in wanted.split(","):
        tag, _, weight = "".join(each.split()).partition(";q=")
        language = tag.partition("-")[0]
        if language in SPOKEN or language == "*":
            weights[language] = max(weights.get(language, 0.0), _weight(weight))
    if not any(weights.values()) or (weights.get("zh") == 0 and "*" in weights):
        return "en" if wanted.strip() and weights.get("en") != 0 else ""
    best = max(weights, key=weights.__getitem__)
    return "" if best == "*" else best


def _weight(said: str) -> float:
    """Of one language: 1 without a number, 0 when it is none."""
    return (float(said) if _WEIGHT.fullmatch(said) else 0.0) if said else 1.0


def shown(error: msgspec.Raw) -> str:
    """A vendor's error, as far as a reader wants it."""
    return bytes(error)[:SAID_BYTES_MAX].decode("utf-8", "replace")
