"""Which paths are inference, in which dialect, and by which entrance they come in: plans are used on some only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from openmaas.core.clock import Clock
from openmaas.dialects.anthropic.dialect import Anthropic
from openmaas.dialects.dialect import Count, Dialect, Signet, Ticket
from openmaas.dialects.openai.dialect import OpenAI
from openmaas.dialects.responses.dialect import Responses
from openmaas.dialects.zhipu.console import Console
from openmaas.dialects.zhipu.dialect import Zhipu

#: What SDKs of Anthropic send on every path: where two dialects have the same, it tells which is meant.
_ANTHROPIC = b"anthropic-version"
#: Where paths begin that belong to Zhipu's dialect, and those of its console.
_ZHIPU = ("/api/paas/", "/api/coding/", "/api/v1/agents", "/api/llm-application/")
_CONSOLE = ("/api/monitor/", "/api/biz/")


class Entrance(msgspec.Struct, frozen=True):
    """``kind`` names the engine's endpoint; ``way`` is the word that the terms of plans use for the base URL."""

    dialect: Dialect
    kind: str
    way: str


class Counter(msgspec.Struct, frozen=True):
    """A path that counts the tokens of a request of ``kind``, and how ``dialect`` says the count."""

    dialect: Dialect
    kind: str
    say: Callable[[Count, Ticket], bytes]


class Entrances:
    """Every path of inference, those that count tokens and those that list models, and the dialect in which any path
    is refused: that of the longest of ``homes`` that it begins with."""

    def __init__(self, signet: Signet, clock: Clock) -> None:
        openai, anthropic, responses = OpenAI(), Anthropic(signet), Responses(signet)
        zhipu, coding = Zhipu(clock, keep_thoughts=False), Zhipu(clock, keep_thoughts=True)
        self._plain: Dialect = openai
        self._anthropic: Dialect = anthropic
        messages = Entrance(anthropic, "chat", "anthropic")
        counting = Counter(anthropic, "chat", anthropic.say_count)
        lengths = Counter(responses, "chat", responses.say_count)
        self.paths: dict[str, Entrance] = {
            "/v1/chat/completions": Entrance(openai, "chat", "api"),
            "/v1/completions": Entrance(openai, "completions", "api"),
            "/v1/embeddings": Entrance(openai, "embeddings", "api"),
            "/v1/moderations": Entrance(openai, "moderations", "api"),
            "/v1/responses": Entrance(responses, "chat", "api"),
            "/api/v1/responses": Entrance(responses, "chat", "responses"),
            "/api/v1/chat/completions": Entrance(openai, "chat", "api"),
            "/api/v1/completions": Entrance(openai, "completions", "api"),
            "/api/v1/embeddings": Entrance(openai, "embeddings", "api"),
            "/api/v1/moderations": Entrance(openai, "moderations", "api"),
            "/api/anthropic/v1/messages": messages,
            "/v1/messages": messages,
            "/api/paas/v4/chat/completions": Entrance(zhipu, "chat", "api"),
            "/api/paas/v4/embeddings": Entrance(zhipu, "embeddings", "api"),
            "/api/paas/v4/rerank": Entrance(zhipu, "rerank", "api"),
            "/api/paas/v4/moderations": Entrance(zhipu, "moderations", "api"),
            "/api/paas/v4/web_search": Entrance(zhipu, "web_search", "api"),
            "/api/paas/v4/tools": Entrance(zhipu, "tools", "api"),
            "/api/coding/paas/v4/chat/completions": Entrance(coding, "chat", "coding"),
        }
        self.counts: dict[str, Counter] = {
            "/tokenize": Counter(openai, "chat", openai.say_count),
            "/api/anthropic/v1/messages/count_tokens": counting,
            "/v1/messages/count_tokens": counting,
            "/v1/responses/input_tokens": lengths,
            "/api/v1/responses/input_tokens": lengths,
            "/api/paas/v4/tokenizer": Counter(zhipu, "chat", zhipu.say_count),
        }
        #: Where models are listed; one of them is a path below.
        bases = ("/v1", "/api/v1", "/api/anthropic/v1", "/api/paas/v4", "/api/coding/paas/v4")
        self.lists = tuple(f"{base}/models" for base in bases)
        #: Base URLs that some client asks for before it sends anything, to see that somebody is there.
        self.doorsteps = ("/", "/api/anthropic", "/api/anthropic/", "/api/anthropic/api/hello", "/api/hello")
        self.homes: dict[str, Dialect] = {"/api/anthropic": anthropic, "/v1/messages": anthropic}
        self.homes |= dict.fromkeys(_ZHIPU, zhipu) | dict.fromkeys(_CONSOLE, Console(clock, keep_thoughts=False))

    def dialect_of(self, path: str, headers: Mapping[bytes, bytes]) -> Dialect:
        """In whose words a caller of ``path`` is answered when it is not inference."""
        found = self.paths.get(path) or self.counts.get(path)
        if found is not None:
            return found.dialect
        if _ANTHROPIC in headers and path.startswith(self.lists):
            return self._anthropic
        best = max((home for home in self.homes if path.startswith(home)), key=len, default="")
        return self.homes.get(best, self._plain)

    def listing(self, path: str) -> str | None:
        """The name that a list of models is asked for, empty for the whole list; None when ``path`` is none."""
        for place in self.lists:
            if path == place:
                return ""
            if path.startswith(f"{place}/"):
                return path.removeprefix(f"{place}/")
        return None
