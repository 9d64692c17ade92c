"""A policy behind the wire of a model: an OpenAI-compatible server that answers chat completions by it.

It is handed what reads the messages of a request (``read``), which is the agent's own form and not known here. So a
policy sees what a model would, and an agent cannot tell it from one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.agents.policies import Policy, Seen

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


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """None: it is a part of a program that has its own way of ending."""
        yield


@contextlib.asynccontextmanager
async def serving(policy: Policy, read: Read, name: str) -> AsyncIterator[str]:
    """The base URL of a server of this policy, on a free port."""
    server = _Server(uvicorn.Config(application(policy, read, name), port=0, log_level="warning"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await running
