"""A policy behind the wire of a model: an OpenAI-compatible server that answers chat completions by it.

It is handed what reads the messages of a request (``read``), which is the agent's own form and not known here. So a
policy sees what a model would, and an agent cannot tell it from one.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.agents.policies import Policy, Seen
from openmaas.apps.serving import served

Read = Callable[[list[dict[str, Any]]], Seen]


def application(policy: Policy, read: Read, name: str) -> Starlette:
    """The policy as a model of this name; whole or as a stream of one piece, as it is asked for."""

    async def complete(request: Request) -> Response:
        asked = await request.json()
        said = json.dumps(policy(read(asked["messages"])), ensure_ascii=False)
        head = {"id": "chatcmpl-policy", "created": int(time.time()), "model": name}
        # A character is a token, as far as a policy is concerned.
        prompt = sum(len(str(message.get("content", ""))) for message in asked["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": len(said), "total_tokens": prompt + len(said)}
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "finish_reason": "stop"}
        if not asked.get("stream"):
            whole = {**head, "object": "chat.completion", "choices": [{**choice, "message": message}], "usage": usage}
            return JSONResponse(whole)
        piece = {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message}], "usage": usage}
        return Response(f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n", media_type="text/event-stream")

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "bench"}]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


@contextlib.asynccontextmanager
async def serving(policy: Policy, read: Read, name: str) -> AsyncIterator[str]:
    """The base URL of a server of this policy, on a free port."""
    async with served(application(policy, read, name)) as url:
        yield f"{url}/v1"
