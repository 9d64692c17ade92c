"""The servers that are measured, each before the same echo engine, and what their processes have used."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
#: The server under test has one core for itself; engine and load share another.
SERVER_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1
LITELLM = Path(__file__).parent.parent / ".venv-litellm" / "bin" / "litellm"
LITELLM_START_S = 120


class Server(NamedTuple):
    """Where a server listens (a port of 127.0.0.1, or a Unix socket), the process that does the work, and a key."""

    address: int | str
    pid: int
    key: str = ""


class House(NamedTuple):
    """A running house: its relay, and its engine as a server of its own."""

    relay: Server
    engine: Server


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


@contextmanager
def house(folder: Path, model: str, *, pinned: bool = True) -> Iterator[House]:
    """``openmaas serve`` with everything on."""
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--port", "0", "--data", str(folder), "--model", model]
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
    _wait_for(port, "/readyz", 60)
    pids = {"house.relay": 0, "engines.program": 0}
    for pid, text in _children(process.pid).items():
        for name in pids:
            pids[name] = pid if name in text else pids[name]
        if pinned:
            _pin(pid, SERVER_CORE if "house.relay" in text else OTHER_CORE)
    run = Path(tempfile.gettempdir())
    # The last to be made; of llama.cpp it is its own server and not our wire before it.
    engine = max(run.glob("openmaas-*/dep_*.sock"), key=lambda path: path.stat().st_mtime)
    try:
        yield House(Server(port, pids["house.relay"], key), Server(str(engine), pids["engines.program"]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def nginx(folder: Path, engine: Server, *, buffers: bool) -> Iterator[Server]:
    """nginx with one worker, ``proxy_pass`` to the engine's socket.

    ``buffers``: it takes a request's body in whole before it connects (its default, with a buffer so large that it
    writes no temporary file); without, it passes the body on as it comes.
    """
    folder.mkdir()
    port = _free_port()
    config = folder / "nginx.conf"
    user = "user root; " if os.getuid() == 0 else ""  # or its worker may not open our socket
    config.write_text(
        f"""{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 100000000;
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream engine {{ server unix:{engine.address}; keepalive 64; }}
          server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_request_buffering {"on" if buffers else "off"}; proxy_buffering off; }} }} }}"""
    )
    process = subprocess.Popen([nginx_path(), "-c", str(config), "-p", str(folder)])
    try:
        _wait_for(port, "/health", 10)
        (worker,) = _children(process.pid)
        _pin(worker, SERVER_CORE)
        yield Server(port, worker)
    finally:
        process.terminate()
        process.wait(10)


def nginx_path() -> str:
    """Where nginx is; empty when it is not installed."""
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    return found if Path(found).exists() else ""


@contextmanager
def litellm(folder: Path, upstream: Server) -> Iterator[Server]:
    """LiteLLM's proxy with one worker, without its database: it knows one master key and bills nobody.

    It cannot speak to a Unix socket, so ``upstream`` is nginx before the engine.
    """
    port, key = _free_port(), "sk-bench"
    config = folder / "litellm.yaml"
    config.write_text(
        f"""model_list: [{{model_name: echo, litellm_params: {{model: openai/echo, api_key: none,
          api_base: "http://127.0.0.1:{upstream.address}/v1"}}}}]
general_settings: {{master_key: {key}}}
litellm_settings: {{telemetry: false}}
"""
    )
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        _wait_for(port, "/health/liveliness", LITELLM_START_S)
        _pin(process.pid, SERVER_CORE)
        yield Server(port, process.pid, key)
    finally:
        process.terminate()
        process.wait(30)


def _children(pid: int) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def _pin(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, path: str, seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers {path} on port {port}")
