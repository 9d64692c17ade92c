"""An engine by itself, without a house: its program on a socket, asked over it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openmaas.engines.meter import MeterLine, find
from openmaas.engines.spec import EngineSpec
from openmaas.simulation.sweep import running


class Lone:
    """One engine, from ``with`` to its end; ``spec`` are further fields of its ``EngineSpec``."""

    def __init__(self, where: Path, weights: Path, **spec: Any) -> None:
        told = {"kind": "llama", "slots": 1, **spec}
        self._spec = EngineSpec(
            model="m", socket=str(where / "e.sock"), meter=str(where / "meter"), weights=str(weights), **told
        )
        self._asked = 0

    def __enter__(self) -> Lone:
        self._running = running(self._spec, Path(f"{self._spec.socket}.log"))
        self._running.__enter__()
        return self

    def __exit__(self, *told: Any) -> None:
        self._running.__exit__(*told)

    def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """The status and the answer."""
        self._asked += 1
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._spec.socket)
        connection.request("POST", path, json.dumps(body), {"x-request-id": f"req_{self._asked}"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        return answer.status, found

    def chat(self, **body: Any) -> dict[str, Any]:
        """The answer to a chat."""
        status, found = self.post("/v1/chat/completions", **body)
        assert status == 200, found
        return found

    def meter(self) -> list[MeterLine]:
        """What it counted, one line for each request."""
        lines = find(self._spec.meter)
        return [lines[f"req_{number}"] for number in range(1, self._asked + 1) if f"req_{number}" in lines]


def chats(where: Path, weights: Path, *bodies: Mapping[str, Any], **spec: Any) -> Iterator[dict[str, Any]]:
    """What an engine of kind ``llama`` answers to each."""
    with Lone(where, weights, **spec) as engine:
        for body in bodies:
            yield engine.chat(**body)
