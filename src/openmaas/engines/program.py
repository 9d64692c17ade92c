"""One engine process: ``python -m openmaas.engines.program`` reads a specification on standard input and serves it.

The pipe then stays open as a lifeline: its end, or SIGTERM, means finish what runs and leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from openmaas.core.bounds import ENGINE_DRAIN_S
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.engines.glm import folder as glm
from openmaas.engines.meter import Meter
from openmaas.engines.openvino import folder as openvino
from openmaas.engines.server import Engine, Server
from openmaas.engines.spec import EngineSpec, read_spec

log = logging.getLogger(__name__)


def build(spec: EngineSpec, meter: Meter, clock: Clock) -> Engine:
    """The engine of ``spec.kind``. Each kind is imported only where it runs: llama.cpp's library is 100 MB,
    torch and OpenVINO are extras. Raises ``SettingInvalid``, and ``ExtraMissing`` for what is not installed."""
    if spec.kind == "echo":
        from openmaas.engines.echo.engine import Echo  # noqa: PLC0415

        return Echo(spec, meter, clock)
    if spec.kind == "embedder":
        from openmaas.engines.embedder import Embedder  # noqa: PLC0415

        return Embedder(spec, meter)
    if spec.kind == "search":
        from openmaas.engines.search.engine import Search  # noqa: PLC0415

        return Search(spec, meter, clock)
    if spec.kind == "moderator":
        from openmaas.engines.moderator import Moderator  # noqa: PLC0415

        return Moderator(spec, meter)
    if spec.kind == "glm":
        glm.check_extra()
        from openmaas.engines.glm.engine import Glm  # noqa: PLC0415

        return Glm(spec, meter, clock)
    if spec.kind == "openvino":
        openvino.check_extra()
        from openmaas.engines.openvino.engine import OpenVino  # noqa: PLC0415

        return OpenVino(spec, meter, clock)
    from openmaas.engines.llama.engine import Llama  # noqa: PLC0415

    return Llama(spec, meter)


async def serve(spec: EngineSpec) -> None:
    """Listen at once (``/health`` says loading), load, say ready, serve until told to stop."""
    engine = build(spec, Meter(spec.meter, Clock()), Clock())
    server = Server(engine)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(0, _lifeline, loop, stop)
    Path(spec.socket).unlink(missing_ok=True)
    old = os.umask(0o177)
    listening = await loop.create_unix_server(server.connection, spec.socket)
    os.umask(old)
    await engine.start()
    print("ready", flush=True)
    await stop.wait()
    listening.close()
    await server.drain(ENGINE_DRAIN_S)
    engine.stop()
    with contextlib.suppress(FileNotFoundError):
        Path(spec.socket).unlink()


def _lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stop.set()


def main() -> None:
    """Run as the supervisor's child. Exit code 2 when the specification cannot be served."""
    logging.basicConfig(level="INFO", stream=sys.stderr, format="engine %(levelname)s %(message)s")
    try:
        uvloop.run(serve(read_spec(sys.stdin.buffer.readline())))
    except OpenmaasError as error:
        log.error("%s", error)
        sys.exit(2)
    # llama.cpp's threads are still there; nothing of ours is left to do
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
