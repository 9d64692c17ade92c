"""The second start: from the command to the first streamed token of the embedded model."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 5
POLL_S = 0.05
TOKEN = b'"content":"'


def second_start_s(folder: Path, port: int, request: bytes) -> float:
    """Seconds, of a folder that was served before; ``request`` streams. The shortest of ``ROUNDS``: others only add."""
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--data", str(folder), "--port", str(port)]
    found = []
    for number in range(ROUNDS):
        print(f"· second start, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _until_token(port, request)
        found.append(time.monotonic() - began_s)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return round(min(found), 2)


def _until_token(port: int, request: bytes) -> None:
    """Knock until somebody listens, ask once, and return with the first token."""
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(request)
                answer = client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                while TOKEN not in answer.replace(TOKEN + b'"', b""):  # the first event may carry an empty text
                    more = client.recv(65536)
                    assert more, answer
                    answer += more
                return
        except ConnectionRefusedError:
            time.sleep(POLL_S)
