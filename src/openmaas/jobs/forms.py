"""The lines that a batch gives back, in the shapes of each wire.

OpenAI and Zhipu: answers in one file, errors in another. Anthropic: one file of results.
https://platform.openai.com/docs/api-reference/batch/request-output
https://docs.anthropic.com/en/docs/build-with-claude/batch-processing
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from openmaas.jobs.lines import Line
from openmaas.work.asking import Told
from openmaas.work.wanted import Form

#: Why a line was not asked: what it counts as, and its code and words on OpenAI's and Zhipu's wires.
UNASKED = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}
_encode = msgspec.json.encode


class Shapes(Protocol):
    """How a form writes. ``splits`` when errors have a file of their own."""

    splits: bool

    def answered(self, job_id: str, line: Line, told: Told) -> bytes:
        """A line with what the relay told, good or bad."""

    def unasked(self, job_id: str, line: Line, why: str, code: str, message: str) -> bytes:
        """A line that nobody asked for."""


class OpenAI:
    """Of OpenAI, and of Zhipu, who took it over."""

    splits = True

    def answered(self, job_id: str, line: Line, told: Told) -> bytes:
        response = {"status_code": told.status, "request_id": told.request_id, "body": _one_line(told.body)}
        return _encode({"id": _id(job_id, line), "custom_id": line.custom_id, "response": response, "error": None})

    def unasked(self, job_id: str, line: Line, why: str, code: str, message: str) -> bytes:
        del why
        error = {"code": code, "message": message}
        return _encode({"id": _id(job_id, line), "custom_id": line.custom_id, "response": None, "error": error})


class Anthropic:
    """Of Anthropic's message batches."""

    splits = False

    def answered(self, job_id: str, line: Line, told: Told) -> bytes:
        del job_id
        if told.status == 200:
            result = {"type": "succeeded", "message": _one_line(told.body)}
        else:
            result = {"type": "errored", "error": _one_line(told.body)}
        return _encode({"custom_id": line.custom_id, "result": result})

    def unasked(self, job_id: str, line: Line, why: str, code: str, message: str) -> bytes:
        del job_id, code
        result: dict[str, object] = {"type": {"cancelled": "canceled", "failed": "errored"}.get(why, why)}
        if why == "failed":
            result["error"] = {"type": "error", "error": {"type": "api_error", "message": message}}
        return _encode({"custom_id": line.custom_id, "result": result})


SHAPES: dict[Form, Shapes] = {"openai": OpenAI(), "zhipu": OpenAI(), "anthropic": Anthropic()}


def _id(job_id: str, line: Line) -> str:
    return f"batch_req_{job_id.partition('_')[2]}_{line.number}"


def _one_line(body: bytes) -> msgspec.Raw:
    """JSON without line breaks; what is none, as text."""
    try:
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.Raw(_encode(body.decode("utf-8", "replace")))
