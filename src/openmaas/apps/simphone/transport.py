"""The device side of adb's wire: packets, and the streams that run through one connection (AOSP,
``packages/modules/adb/protocol.txt``). It knows no services: who opens a stream gets it from whoever listens.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

import msgspec

from openmaas.core import bounds

CNXN, OPEN, OKAY, WRTE, CLSE = b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE"
#: Of the protocol: since this one nobody needs the sums that we write all the same.
VERSION = 0x01000001
_HEAD = struct.Struct("<4s5I")
_COMPLEMENT = 0xFFFFFFFF


class Packet(msgspec.Struct, frozen=True):
    """One message: what it is, two numbers whose meaning depends on that, and content."""

    command: bytes
    first: int
    second: int
    content: bytes = b""

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        magic = int.from_bytes(self.command, "little") ^ _COMPLEMENT
        sum_ = sum(self.content) & _COMPLEMENT
        return _HEAD.pack(self.command, self.first, self.second, len(self.content), sum_, magic) + self.content


class Stream:
    """One service in use: bytes both ways until either side closes. ``reader`` has what the peer sent."""

    def __init__(self, wire: Wire, ours: int, theirs: int, service: str) -> None:
        self.service = service
        self.reader = asyncio.StreamReader()
        self._wire = wire
        self._ours = ours
        self._theirs = theirs
        self._taken = asyncio.Event()

    async def write(self, content: bytes) -> None:
        """Send it, a packet after the other, each once the one before was taken."""
        for start in range(0, len(content), self._wire.size_max):
            self._taken.clear()
            self.send(WRTE, content[start : start + self._wire.size_max])
            await self._taken.wait()

    def send(self, command: bytes, content: bytes = b"") -> None:
        """Send a packet of this stream."""
        self._wire.send(Packet(command, self._ours, self._theirs, content))

    def taken(self) -> None:
        """The peer has taken what was sent last."""
        self._taken.set()


class Wire:
    """One connection of a peer. ``answer`` serves a stream; when it is done the stream is closed."""

    def __init__(self, writer: asyncio.StreamWriter, banner: str, answer: Callable[[Stream], Awaitable[None]]) -> None:
        self.size_max = bounds.ADB_PACKET_BYTES
        self._writer = writer
        self._banner = banner
        self._answer = answer
        self._streams: dict[int, Stream] = {}
        self._served: dict[int, asyncio.Task[None]] = {}
        self._opened = 0

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Read packets until the peer is gone, then leave nothing that runs."""
        try:
            while True:
                head = await reader.readexactly(_HEAD.size)
                command, first, second, size, _, _ = _HEAD.unpack(head)
                if size > bounds.ADB_PACKET_BYTES_MAX:
                    return
                self._take(Packet(command, first, second, await reader.readexactly(size)))
                await self._writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            served = [*self._served.values()]
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)
            self._writer.close()

    def send(self, packet: Packet) -> None:
        """Put it on the wire, unless that is gone."""
        if not self._writer.is_closing():
            self._writer.write(packet.encoded())

    def _take(self, packet: Packet) -> None:
        if packet.command == CNXN:
            self.size_max = min(packet.second, bounds.ADB_PACKET_BYTES)
            self.send(Packet(CNXN, VERSION, bounds.ADB_PACKET_BYTES, self._banner.encode()))
        elif packet.command == OPEN:
            self._open(packet)
        elif stream := self._streams.get(packet.second):
            if packet.command == WRTE:
                stream.reader.feed_data(packet.content)
                stream.send(OKAY)
            elif packet.command == OKAY:
                stream.taken()
            elif packet.command == CLSE:
                stream.reader.feed_eof()
                self._served[packet.second].cancel()

    def _open(self, packet: Packet) -> None:
        self._opened += 1
        service = packet.content.rstrip(b"\0").decode(errors="replace")
        self._streams[self._opened] = stream = Stream(self, self._opened, packet.first, service)
        self._served[self._opened] = asyncio.create_task(self._serve(self._opened, stream))

    async def _serve(self, ours: int, stream: Stream) -> None:
        try:
            await self._answer(stream)
        finally:
            del self._streams[ours], self._served[ours]
            stream.send(CLSE)
