"""The adb server's socket: one connection for each thing asked, no process started.

Requests are four hexadecimal digits of length and a service's name, answers begin with OKAY or FAIL (AOSP,
``packages/modules/adb/protocol.txt`` and ``SERVICES.txt``); commands run in the second form of the shell's protocol,
which tells output, errors and the exit code apart. This module knows bytes and serial numbers, no Android.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import msgspec

from openmaas.core import bounds
from openmaas.core.errors import DeviceLost

#: Where an adb server listens unless ``ANDROID_ADB_SERVER_PORT`` says otherwise.
PORT = 5037
#: Kinds of a packet of ``shell,v2``.
STDOUT, STDERR, EXIT = 1, 2, 3


class Device(msgspec.Struct, frozen=True):
    """One line of what the server knows: ``state`` is device, offline, unauthorized, …"""

    serial: str
    state: str
    model: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What a command on a device left."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """What it wrote to both."""
        return (self.out + self.err).decode(errors="replace").strip()


async def devices(port: int = PORT) -> tuple[Device, ...]:
    """Every device that the server knows, whatever its state."""
    found = []
    for line in (await _told(port, "host:devices-l")).splitlines():
        serial, state, *facts = line.split()
        models = [fact.removeprefix("model:") for fact in facts if fact.startswith("model:")]
        found.append(Device(serial, state, "".join(models)))
    return tuple(found)


async def connect(address: str, port: int = PORT) -> None:
    """Let the server connect to a device in the network, ``host:port``, and return when it has shaken hands.

    One that went away and came back stays offline until it is forgotten, which the server does only after a while; one
    that is new is offline for a moment.
    """
    for _ in range(bounds.ADB_CONNECTS_MAX):
        if await _state(address, port) == "offline":
            await disconnect(address, port)
        said = await _told(port, f"host:connect:{address}")
        if "connected to" not in said:
            raise DeviceLost(said)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bounds.ADB_CONNECT_S):
                while (state := await _state(address, port)) == "offline":
                    await asyncio.sleep(bounds.ADB_LOOK_S)
            if state:
                return  # without any it was the one that went away, and is forgotten by now
    raise DeviceLost(f"{address} stays offline")


async def _state(serial: str, port: int) -> str:
    """What the server says of a device; empty when it knows none of this name."""
    return next((each.state for each in await devices(port) if each.serial == serial), "")


async def disconnect(address: str, port: int = PORT) -> None:
    """Let the server forget a device in the network."""
    with contextlib.suppress(DeviceLost):  # it has
        await _told(port, f"host:disconnect:{address}")


async def shell(serial: str, command: str, port: int = PORT) -> Outcome:
    """Run one command on a device, without a terminal: its output comes byte for byte."""
    async with _asked(port, f"host:transport:{serial}", f"shell,v2,raw:{command}") as reader:
        written = {STDOUT: bytearray(), STDERR: bytearray()}
        while True:
            kind, size = struct.unpack("<BI", await reader.readexactly(5))
            if size + sum(map(len, written.values())) > bounds.ADB_ANSWER_BYTES_MAX:
                raise DeviceLost(f"it answers {command.split()[0]} with more than can be read")
            content = await reader.readexactly(size)
            if kind == EXIT:
                return Outcome(content[0], bytes(written[STDOUT]), bytes(written[STDERR]))
            if kind in written:
                written[kind] += content


async def _told(port: int, service: str) -> str:
    async with _asked(port, service) as reader:
        return (await _sized(reader)).decode(errors="replace")


@contextlib.asynccontextmanager
async def _asked(port: int, *services: str) -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which the server has said OKAY to each of these."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        raise DeviceLost(f"no adb server listens on port {port}: run `adb start-server`") from None
    try:
        async with asyncio.timeout(bounds.ADB_TIMEOUT_S):
            for service in services:
                request = service.encode()
                writer.write(b"%04x" % len(request) + request)
                if await reader.readexactly(4) != b"OKAY":
                    raise DeviceLost((await _sized(reader)).decode(errors="replace"))
            yield reader
    except TimeoutError:  # an OSError as well
        raise DeviceLost(f"no answer within {bounds.ADB_TIMEOUT_S:g} s") from None
    except (OSError, asyncio.IncompleteReadError, ValueError):
        raise DeviceLost("the connection to it ended") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _sized(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int(await reader.readexactly(4), 16))
