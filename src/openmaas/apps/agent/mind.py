"""The model's side of a turn: what it is told, what it answers, and what it has been told before.

The history is bounded: one picture (the newest), the last turns word by word, older ones as a line each, and the task
never forgotten. An answer that cannot be read is told so and asked again; after ``READINGS_MAX`` the task has failed.
"""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from PIL import Image

from openmaas.apps.agent.actions import Said, told
from openmaas.apps.agent.events import Misread, Thought
from openmaas.apps.agent.grammars.grammar import Grammar, Setting, content_of
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.spending import Spent
from openmaas.apps.client import Answer, Platform
from openmaas.core.bounds import READINGS_MAX, TURNS_KEPT
from openmaas.core.clock import Clock
from openmaas.core.errors import AnswerUnreadable


class Turn(msgspec.Struct, frozen=True):
    """A past turn: what the model answered, in its own form, the action in words, and what came of it."""

    message: Mapping[str, Any]
    action: str
    outcome: str


class Mind:
    """One model on one task. ``sees``: whether it takes pictures."""

    def __init__(
        self,
        platform: Platform,
        model: str,
        grammar: Grammar,
        setting: Setting,
        clock: Clock,
        *,
        sees: bool,
        secrets_told: str = "",
    ) -> None:
        self._platform, self.model, self._grammar, self._setting = platform, model, grammar, setting
        self._clock, self._sees, self._secrets_told = clock, sees, secrets_told
        self._turns: list[Turn] = []
        self._notes: list[str] = []

    async def think(
        self, task: str, sight: Sight, told_now: str, spent: Spent, tell: Callable[[Any], object]
    ) -> tuple[Said, Any]:
        """What to do next, and the message that said so.

        Raises ``AnswerUnreadable`` after ``READINGS_MAX`` answers that cannot be read; ``Refused`` and ``Failed`` as
        the platform does.
        """
        messages = self._messages(task, sight, told_now)
        asks = self._grammar.asks(self._setting, sight)
        for reading in range(1, READINGS_MAX + 1):
            began = self._clock.mono_s()
            answer = await self._platform.chat({"model": self.model, "messages": messages, **asks})
            spent.asked(answer)
            try:
                said = _kept(self._grammar.read(answer.message, sight))
            except AnswerUnreadable as error:
                tell(Misread(at_ms=self._clock.wall_ms(), step=spent.steps, answer=_shown(answer), why=error.detail))
                if reading == READINGS_MAX or spent.drained:
                    raise
                messages += [
                    {"role": "assistant", "content": _shown(answer)},
                    {"role": "user", "content": error.message},
                ]
                continue
            took_ms = round((self._clock.mono_s() - began) * 1000)
            tell(
                Thought(
                    at_ms=self._clock.wall_ms(),
                    step=spent.steps,
                    thinking=said.thinking,
                    action=told(said.action),
                    request_id=answer.request_id,
                    tokens=answer.tokens,
                    amount=str(answer.amount),
                    took_ms=took_ms,
                )
            )
            return said, answer.message
        raise AssertionError("the last reading returns or raises")

    async def write(self, instruction: str, spent: Spent) -> str:
        """Something from the notes, for ``Recall``."""
        notes = "\n\n".join(self._notes) or "(no notes)"
        body = {"model": self.model, "messages": [{"role": "user", "content": f"{instruction}\n\nNotes:\n{notes}"}]}
        answer = await self._platform.chat(body)
        spent.asked(answer)
        return content_of(answer.message).strip()

    def noted(self, text: str) -> None:
        """Remember a text."""
        self._notes.append(text)

    def acted(self, message: Mapping[str, Any], said: Said, outcome: str) -> None:
        """A turn has ended."""
        self._turns.append(Turn(message, told(said.action), outcome))

    def _messages(self, task: str, sight: Sight, told_now: str) -> list[dict[str, Any]]:
        mark = secrets.token_hex(4)
        older, kept = self._turns[:-TURNS_KEPT], self._turns[-TURNS_KEPT:]
        head = [f"Task: {task}"]
        if self._secrets_told:
            head.append(f"Secrets you may type without knowing them: {self._secrets_told}")
        if older:
            head += ["Done before:", *(f"{n}. {each.action}: {each.outcome}" for n, each in enumerate(older, 1))]
        said: list[dict[str, Any]] = [{"role": "system", "content": self._grammar.system(self._setting)}]
        for number, each in enumerate(kept):
            # What it was asked then is gone with its screen; what came of the turn before stands in its place.
            said.append({"role": "user", "content": "\n".join(head) if number == 0 else kept[number - 1].outcome})
            said.append({"role": "assistant", "content": _as_text(each.message)})
        now = [*([] if kept else head), told_now, self._grammar.show(sight, mark)]
        if self._notes:
            now.append("Notes: " + " | ".join(" ".join(note.split())[:200] for note in self._notes[-10:]))
        text = "\n\n".join(filter(None, now))
        said.append(
            {
                "role": "user",
                "content": [_picture(sight, self._grammar), {"type": "text", "text": text}] if self._sees else text,
            }
        )
        return said


def _kept(said: Said) -> Said:
    """The same, if it can be written down. Raises ``AnswerUnreadable``."""
    try:
        msgspec.json.encode(said)
    except UnicodeEncodeError:
        raise AnswerUnreadable("it has halves of letters in it (surrogates)") from None
    return said


def _as_text(message: Mapping[str, Any]) -> str:
    """An assistant's turn as text: calls are named in words, for an answer to a call would need a turn of its own."""
    calls = [f"{each['function']['name']} {each['function']['arguments']}" for each in message.get("tool_calls") or []]
    return "\n".join(filter(None, (content_of(message), *calls))) or "…"


def _shown(answer: Answer) -> str:
    return _as_text(answer.message)[:2000]


def _picture(sight: Sight, grammar: Grammar) -> dict[str, Any]:
    """The screenshot as the model's space wants it."""
    screen = sight.screen
    size = grammar.space.picture(screen.width, screen.height)
    png = screen.png
    if size != (screen.width, screen.height):
        into = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGB").resize(size, Image.Resampling.LANCZOS).save(into, "PNG")
        png = into.getvalue()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}
