"""The gateways that are measured beside the relay, each before the same engine.

None of them knows its callers' money. All but nginx cannot speak to a Unix socket, so nginx stands before the engine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import SERVER_CORE, Server, children, free_port, pin, wait_for

_HERE = Path(__file__).parent.parent
LITELLM = _HERE / ".venv-litellm" / "bin" / "litellm"
SMG = _HERE / ".venv-gateways" / "bin" / "smg"
TENSORZERO = SMG.with_name("python")
START_S = 120


@contextmanager
def nginx(folder: Path, engine: Server, *, buffers: bool) -> Iterator[Server]:
    """nginx with one worker, ``proxy_pass`` to the engine's socket.

    ``buffers``: it takes a request's body in whole before it connects (its default, with a buffer so large that it
    writes no temporary file); without, it passes the body on as it comes.
    """
    folder.mkdir()
    port = free_port()
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
        wait_for(port, "/health", 10)
        (worker,) = children(process.pid)
        pin(worker, SERVER_CORE)
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
    port, key = free_port(), "sk-bench"
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
    with _running(command, folder / "litellm.log", port, "/health/liveliness", environment, folder) as (pid, _):
        yield Server(port, pid, key)


@contextmanager
def smg(folder: Path, upstream: Server) -> Iterator[Server]:
    """The Shepherd model gateway (Rust), which bills nobody and knows no key."""
    port = free_port()
    command = [str(SMG), "launch", "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()), "--log-level", "error"]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream.address}"]
    with _running(command, folder / "smg.log", port, "/health", {**os.environ}) as (pid, _):
        yield Server(port, pid)


@contextmanager
def tensorzero(folder: Path, upstream: Server, cues: dict[str, str]) -> Iterator[Server]:
    """TensorZero (Rust), its observability off: on, it needs a database of its own. It does not pass on the field
    ``user``, by which the echo engine is told how to answer: so each of ``cues`` is a model of its own."""
    config = folder / "tensorzero.toml"
    lines = ["gateway.observability.enabled = false"]
    for name, cue in cues.items():
        also = f'extra_body = [{{ pointer = "/user", value = "{cue}" }}]'
        base = f'api_key_location = "none", api_base = "http://127.0.0.1:{upstream.address}/v1/", {also}'
        provider = f'{{ type = "openai", model_name = "echo", {base} }}'
        lines.append(f'models.{name} = {{ routing = ["echo"], providers.echo = {provider} }}')
    config.write_text("\n".join(lines))
    said = f"import tensorzero, time; kept = tensorzero._start_http_gateway(config_file={str(config)!r}, "
    said += "clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False); "
    said += "print(kept.base_url, flush=True); time.sleep(1e6)"
    command = [str(TENSORZERO), "-c", said]
    with _running(command, folder / "tensorzero.log", 0, "", {**os.environ}) as (pid, port):
        yield Server(port, pid, path="/openai/v1/chat/completions", model="tensorzero::model_name::{}")


@contextmanager
def _running(
    command: list[str], log: Path, port: int, health: str, environment: dict[str, str], folder: Path | None = None
) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, on the core of who is measured, once it answers; and its port, which it says
    itself, when it is up, if it is not told one."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)
    try:
        deadline_s = time.monotonic() + START_S
        while not port and time.monotonic() < deadline_s:
            time.sleep(0.1)
            port = int(next(iter(re.findall(r"http://[^:]+:(\d+)", log.read_text())), 0))
        assert port, f"it did not start: {log.read_text()[-2000:]}"
        if health:
            wait_for(port, health, START_S)
        pin(process.pid, SERVER_CORE)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(30)
