"""The Anthropic dialect: https://docs.anthropic.com/en/api, by way of values. Its errors are English."""

from __future__ import annotations

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.dialects.anthropic.errors import render
from openmaas.dialects.anthropic.models import described, listed
from openmaas.dialects.anthropic.read import asking, conversation
from openmaas.dialects.anthropic.write import MessageVoice
from openmaas.dialects.asked import Asked
from openmaas.dialects.dialect import Count, Offer, Signet, Ticket


class Anthropic:
    """``signet`` signs the thoughts that clients carry from turn to turn."""

    told_in_events: tuple[type[OpenmaasError], ...] = ()

    def __init__(self, signet: Signet) -> None:
        self._signet = signet

    def ask(self, _kind: str, body: bytes | bytearray) -> Asked:
        """See ``Dialect``. A request whose tokens are to be counted is read as one that is to be answered."""
        told = asking(body)
        voice = MessageVoice(signet=self._signet, thinks=told.thinks, silent=told.max_tokens == 0)
        return Asked(conversation(told, self._signet), len(body), voice)

    def refusal(self, error: OpenmaasError, _language: str, request_id: str) -> tuple[int, bytes, bytes]:
        """See ``Dialect``."""
        return render(error, request_id)

    def broken(self, error: OpenmaasError, _language: str, request_id: str) -> bytes:
        """The error as an event: SDKs raise it, Claude Code asks again."""
        return b"event: error\ndata: %b\n\n" % render(error, request_id)[2]

    def tag(self, request_id: str) -> bytes:
        """By both names: SDKs of Anthropic read ``request-id``."""
        return b"x-request-id: %b\r\nrequest-id: %b\r\n" % (request_id.encode(), request_id.encode())

    def say_count(self, count: Count, _ticket: Ticket) -> bytes:
        """https://docs.anthropic.com/en/api/messages-count-tokens"""
        estimated = {"estimated": True} if count.estimated else {}
        return msgspec.json.encode({"input_tokens": count.tokens, **estimated})

    def listed(self, offers: list[Offer], query: str) -> bytes:
        """See ``Dialect``."""
        return listed(offers, query)

    def described(self, offer: Offer) -> bytes:
        """See ``Dialect``."""
        return described(offer)
