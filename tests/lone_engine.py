"""An engine of kind ``llama`` by itself, without a house: its program on a socket, asked for chats."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openmaas.engines.spec import EngineSpec


def chats(where: Path, weights: Path, *bodies: Mapping[str, Any], **spec: Any) -> Iterator[dict[str, Any]]:
    """What it answers to each; ``spec`` are further fields of its ``EngineSpec``."""
    told = EngineSpec(
        kind="llama",
        model="m",
        socket=str(where / "e.sock"),
        meter=str(where / "meter"),
        weights=str(weights),
        slots=1,
        **spec,
    )
    command = [sys.executable, "-m", "openmaas.engines.program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        try:
            engine.stdin.write(told.line())
            engine.stdin.flush()
            assert engine.stdout.readline() == b"ready\n"
            for body in bodies:
                connection = http.client.HTTPConnection("engine")
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(told.socket)
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"x-request-id": "req_1"})
                answer = connection.getresponse()
                found = json.loads(answer.read())
                connection.close()
                assert answer.status == 200, found
                yield found
        finally:
            engine.stdin.close()  # its lifeline
