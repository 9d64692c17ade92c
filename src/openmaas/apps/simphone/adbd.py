"""The services that adb asks a phone for: commands in three forms, and files to be pulled.

``shell,v2`` tells output, errors and the exit code apart, ``shell`` and ``exec`` mix them. ``sync`` gives files and
takes none.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

from openmaas.apps.simphone.commands import Outcome
from openmaas.apps.simphone.shell import run
from openmaas.apps.simphone.system import System
from openmaas.apps.simphone.transport import OKAY, Stream
from openmaas.core import bounds

STDOUT, STDERR, EXIT = 1, 2, 3
#: Of a regular file that everybody may read, as ``stat`` has it.
_FILE_MODE = 0o100644
_NO_SHELL = "SimPhone has no interactive shell: give a command, as in `adb shell input tap 10 10`\n"

#: How the phone introduces itself.
BANNER = "device::ro.product.name=simphone;ro.product.model=SimPhone;ro.product.device=simphone;features=shell_v2"


def services(system: System) -> Callable[[Stream], Awaitable[None]]:
    """What answers the streams of one phone's connections."""

    async def answer(stream: Stream) -> None:
        name, _, argument = stream.service.partition(":")
        kind, *options = name.split(",")
        if kind in ("shell", "exec"):
            stream.send(OKAY)
            await _command(system, stream, argument, packets="v2" in options)
        elif kind == "sync":
            stream.send(OKAY)
            with contextlib.suppress(asyncio.IncompleteReadError):  # the peer is gone
                await _sync(system, stream)

    return answer


async def _command(system: System, stream: Stream, line: str, *, packets: bool) -> None:
    outcome = await run(system, line) if line.strip() else Outcome(1, b"", _NO_SHELL.encode())
    if not packets:
        await stream.write(outcome.out + outcome.err)
        return
    written = b"".join(
        struct.pack("<BI", kind, len(content)) + content
        for kind, content in ((STDOUT, outcome.out), (STDERR, outcome.err), (EXIT, bytes([outcome.code])))
        if content
    )
    await stream.write(written)


async def _sync(system: System, stream: Stream) -> None:
    while True:
        request, size = struct.unpack("<4sI", await stream.reader.readexactly(8))
        if request == b"QUIT":
            return
        if size > bounds.ADB_PACKET_BYTES:
            return
        path = (await stream.reader.readexactly(size)).decode(errors="replace")
        file = system.files.get(path)
        if request == b"STAT":
            mode, length = (0, 0) if file is None else (_FILE_MODE, len(file))
            await stream.write(struct.pack("<4sIII", b"STAT", mode, length, 0))
        elif request == b"LIST":
            await stream.write(struct.pack("<4sIIII", b"DONE", 0, 0, 0, 0))
        elif request == b"RECV" and file is not None:
            await _give(stream, file)
        else:
            said = "No such file or directory" if request == b"RECV" else "SimPhone takes no files"
            await stream.write(struct.pack("<4sI", b"FAIL", len(said)) + said.encode())
            return


async def _give(stream: Stream, file: bytes) -> None:
    for start in range(0, len(file), bounds.SYNC_CHUNK_BYTES):
        chunk = file[start : start + bounds.SYNC_CHUNK_BYTES]
        await stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
    await stream.write(struct.pack("<4sI", b"DONE", 0))
