"""One engine process: ``python -m openmaas.engines.program``.

It reads its ``EngineSpec`` as one line on standard input, listens on the spec's Unix socket at once, loads, prints
``ready`` and serves. Standard input stays open as its lifeline: when that ends, the parent is dead or wants it gone,
and it lets running answers end for up to ``DRAIN_TIMEOUT_S``; SIGTERM means the same. It knows no model: the kind does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.engines.echo import Echo
from openmaas.engines.embedder import Embedder
from openmaas.engines.meter import Meter
from openmaas.engines.server import Engine, Server
from openmaas.engines.spec import EngineSpec, read_spec

LIFELINE = 0  #: the file descriptor of standard input
_log = logging.getLogger(__name__)


def make_engine(spec: EngineSpec, meter: Meter, clock: Clock) -> Engine:
    """The engine of the spec's kind, not yet loaded."""
    if spec.kind == "echo":
        return Echo(spec, meter, clock)
    if spec.kind == "embedder":
        return Embedder(spec, meter)
    # Only here, because the wheel maps 100 MB of native code that the other kinds do not want.
    from openmaas.engines.llama.front import Llama  # noqa: PLC0415

    return Llama(spec, meter)


def bind(path: str) -> socket.socket:
    """A listening socket at ``path``, readable by its owner alone; a stale file is replaced."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(bounds.BACKLOG)
    listener.setblocking(False)
    return listener


async def serve(spec: EngineSpec) -> None:
    """Serve until the lifeline ends or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    clock = Clock()
    meter = Meter(spec.meter, clock)
    engine = make_engine(spec, meter, clock)
    server = Server(engine)
    over = asyncio.Event()

    def lifeline() -> None:
        if not os.read(LIFELINE, 4096):
            loop.remove_reader(LIFELINE)
            over.set()

    loop.add_reader(LIFELINE, lifeline)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    listening = await loop.create_unix_server(server.connection, sock=bind(spec.socket))
    loading = asyncio.create_task(engine.start())
    waiting = asyncio.create_task(over.wait())
    try:
        await asyncio.wait({loading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not over.is_set():
            loading.result()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await waiting
        listening.close()
        await server.drain(bounds.DRAIN_TIMEOUT_S)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(spec.socket).unlink()
        engine.stop()
        meter.close()


def main() -> int:
    """The program; its exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; our parent tells us what it means
    try:
        spec = read_spec(read_line(LIFELINE))
        uvloop.run(serve(spec))
    except OpenmaasError as error:
        _log.error("%s", error.message)
        return 1
    return 0


def read_line(fd: int) -> bytes:
    """Bytes of ``fd`` up to its first newline, and not one byte more: the rest belongs to the event loop."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # native threads of a loading or generating model would hold up an orderly end
