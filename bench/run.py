"""``make bench``: the relay with everything on, beside nginx ``proxy_pass``, before the same echo engine, in one run.

The server under test has one core for itself; engine and load share the other, and may be the slower side. So what is
compared is not the rate but the work: answered requests for each second of CPU that the server's process used. A ratio
of 1 means that the relay, which knows the caller, holds, counts, journals and hides usage, costs as much as nginx,
which only copies. Rounds alternate, the median counts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.load import drive

ROUNDS = 3
SECONDS = 4.0
CONNECTIONS = 32
RESULT = Path(__file__).parent / "latest.json"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SERVER_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1


def bodies() -> dict[str, dict[str, Any]]:
    """The three requests: plain, with a prompt of 300 KB, and a stream of 64 events."""
    plain = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    large = {"model": "echo", "messages": [{"role": "user", "content": "word " * 60_000}]}
    stream = {**plain, "stream": True, "stream_options": {"include_usage": True}, "user": "echo:tokens=64"}
    return {"plain": plain, "large": large, "stream": stream}


def request_of(body: dict[str, Any], key: str) -> bytes:
    """The bytes of one request."""
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
    return head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def children(pid: int) -> dict[int, str]:
    """The children of ``pid``, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


@contextmanager
def house(folder: Path) -> Iterator[tuple[int, str, int, str]]:
    """A running house with the echo engine: its port, a key, the relay's pid, the engine's socket."""
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--port", "0", "--data", str(folder), "--model", "echo"]
    environment = {**os.environ, "OPENMAAS_STARTING_CREDIT": "1000000", "OPENMAAS_LOG_LEVEL": "warning"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    port, key = 0, ""
    for line in process.stdout:
        if " serves " in line:
            port = int(line.partition("127.0.0.1:")[2].split()[0])
        if "API key (shown" in line:
            key = line.split()[-1]
        if line.startswith("  -H"):
            break
    time.sleep(1)
    relay = 0
    for pid, text in children(process.pid).items():
        os.sched_setaffinity(pid, {SERVER_CORE if "house.relay" in text else OTHER_CORE})
        relay = pid if "house.relay" in text else relay
    run = Path(tempfile.gettempdir())
    engine = max(run.glob("openmaas-*/dep_*.sock"), key=lambda path: path.stat().st_mtime)
    try:
        yield port, key, relay, str(engine)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def nginx(folder: Path, engine: str) -> Iterator[tuple[int, int]]:
    """nginx with one worker before the engine's socket: its port and the worker's pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    user = "user root; " if os.getuid() == 0 else ""  # or its worker may not open our socket
    config.write_text(
        f"""{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 100000000;
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream engine {{ server unix:{engine}; keepalive 64; }}
          server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffering off; }} }} }}"""
    )
    process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-p", str(folder)])
    time.sleep(0.5)
    (worker,) = children(process.pid)
    os.sched_setaffinity(worker, {SERVER_CORE})
    try:
        yield port, worker
    finally:
        process.terminate()
        process.wait(10)


def measure(port: int, pid: int, request: bytes) -> tuple[float, float]:
    """Requests for each second of the server's CPU, and for each second of the clock."""
    before = cpu_s(pid)
    load = uvloop.run(drive(port, request, connections=CONNECTIONS, seconds=SECONDS))
    used = cpu_s(pid) - before
    assert load.failed == 0, f"{load.failed} of {load.answered} requests failed"
    return load.answered / max(used, 1 / TICKS_A_SECOND), load.answered / load.seconds


def compare(folder: Path) -> dict[str, Any]:
    """Every figure and ratio of this run."""
    os.sched_setaffinity(0, {OTHER_CORE})
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    with house(folder / "data") as (port, key, relay, engine), nginx(folder, engine) as (peer_port, worker):
        for name, body in bodies().items():
            request = request_of(body, key)
            ours, theirs = [], []
            for number in range(ROUNDS):
                print(f"· {name}, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
                ours.append(measure(port, relay, request))
                theirs.append(measure(peer_port, worker, request))
            mine, peer = (tuple(map(statistics.median, zip(*found, strict=True))) for found in (ours, theirs))
            ratios[f"{name}_vs_nginx"] = round(mine[0] / peer[0], 3)
            figures[name] = {
                "relay_per_cpu_second": round(mine[0]),
                "nginx_per_cpu_second": round(peer[0]),
                "relay_per_second": round(mine[1]),
                "nginx_per_second": round(peer[1]),
            }
    return {"ratios": ratios, "figures": figures, "journal_durability": "process", "rounds": ROUNDS}


def main() -> None:
    """Measure, print, write ``bench/latest.json``."""
    if not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()):
        sys.exit("nginx is not here; install it with: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = compare(Path(folder))
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
