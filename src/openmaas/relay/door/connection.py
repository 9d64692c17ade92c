"""One client connection: what it has read is walked with, one request after the other, and what is late is given up.

A client that closes its sending side while we answer is taken for gone. One that asks ahead is answered in order, and
not further than it reads. A walk begins at the end of a head, and the body waits at the client until the walk asks for
it: nobody fills our memory before the key is known. What is left of a body when its request is answered is read and
forgotten, for a client that still sends would not see the answer. An error that loses the framing is answered, and the
connection closed.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from openmaas.core import bounds
from openmaas.core.errors import Draining, Internal, OpenmaasError, Overloaded, TooSlow
from openmaas.relay.door.message import Answer, Front, Head, Request
from openmaas.relay.door.reader import Reader
from openmaas.relay.door.walk import Walk

_NEVER = float("inf")
_JSON = b"content-type: application/json\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Statuses of HTTP's own for a few malformed parts.
_HTTP_STATUS = {"expect": 417, "url": 414, "headers": 431, "transfer-encoding": 501, "method": 405, "version": 505}


class Hall:
    """What all connections of a relay share. ``now_s`` and ``date`` (a header line) are as of the last sweep."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.now_s = 0.0
        self.date = b""
        self.buffer = memoryview(bytearray(bounds.READ_BYTES))
        self.connections: set[Connection] = set()
        self.body_bytes = 0  # of all bodies that walks have asked for whole


class Connection(asyncio.BufferedProtocol):
    """One client connection. ``lost`` when it is closed, ``pressed`` while the client takes less than we send."""

    def __init__(self, hall: Hall) -> None:
        self.transport: Any = None
        self.lost = False
        self.pressed = False
        self.peer = ""
        self._hall = hall
        self._front = hall.front
        self._reader = Reader(self, hall.front.gathers, hall.buffer)
        self._answer: Answer | None = None  # of the request that is walked with
        self._past: Request | None = None  # it was answered, and the rest of its body still comes
        self._held_bytes = 0  # of the hall's
        self._asked = False
        self._closing = False
        self._reading = True
        self._since_s = hall.now_s  # the last progress of what the client owes us
        self._untaken: tuple[int, float] | None = None  # bytes that a pressed client has not taken, since when

    @property
    def date(self) -> bytes:
        """The Date header's line."""
        return self._hall.date

    @property
    def idle(self) -> bool:
        """True between requests."""
        return self._answer is None and not self._reader.begun and not self._reader.requests

    def will_keep(self, request: Request) -> bool:
        """True when the connection goes on after this request's answer; one who was not told to send its body may send
        it all the same, or not."""
        told = request.complete or not request.expects
        return request.keep_alive and told and not self._closing and not self._front.draining

    # ── told by the transport ──────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(bounds.WRITE_BUFFER_BYTES_HIGH, bounds.WRITE_BUFFER_BYTES_LOW)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = transport.get_extra_info("peername")
            self.peer = str(name[0]) if name else ""
        self._hall.connections.add(self)
        if len(self._hall.connections) > bounds.CONNECTIONS_MAX:
            self._refuse(Overloaded("too many connections", retry_after_s=1))

    def get_buffer(self, _hint: int) -> memoryview:
        return self._reader.room()

    def buffer_updated(self, size: int) -> None:
        if self._closing:
            return
        reader = self._reader
        in_head = reader.begun and reader.incoming is None
        reader.take(size)
        if not in_head or not reader.begun or reader.incoming is not None:  # a head has one deadline for all its bytes
            self._since_s = self._hall.now_s
        if reader.requests:
            self._walk_on()
        answer, incoming = self._answer, reader.incoming
        if answer is not None and answer.request.wanted:
            self._hold(answer.request)
        if reader.error is not None:
            self._refuse(reader.error)
        elif self._past is not None:
            if self._past.complete:
                self._go_on(self._past)
        elif incoming is not None and incoming.head.gathers and not incoming.wanted:
            self.stop_reading()

    def eof_received(self) -> bool:
        self._gone()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self._gone()
        if self._answer is not None:
            self._answer.request.wake()
        else:  # or it counts until its walk is over
            self._hall.connections.discard(self)

    def pause_writing(self) -> None:
        self.pressed = True
        if self._answer is not None and self._answer.on_pressure is not None:
            self._answer.on_pressure(True)

    def resume_writing(self) -> None:
        self.pressed = False
        self._untaken = None
        if self._answer is not None and self._answer.on_pressure is not None:
            self._answer.on_pressure(False)
        else:
            self._walk_on()

    def stop_reading(self) -> None:
        """Take no bytes for now."""
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Take bytes again."""
        if not self._reading and not self.lost:
            self._reading = True
            self._since_s = self._hall.now_s  # until now it could not send
            self.transport.resume_reading()

    def say_continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        self.transport.write(_CONTINUE)

    # ── one walk after the other ───────────────────────────────────────────────────────────────────────────────

    def _walk_on(self) -> None:
        """Walk with the next request, unless a walk is under way or the client does not take what it has."""
        requests = self._reader.requests
        if requests and self._answer is None and self._past is None and not self._closing and not self.pressed:
            request = requests.popleft()
            self._answer = answer = Answer(self, request, self.lost)
            Walk(self._front.walk(request, answer), self._ended).step()
        if len(requests) >= bounds.PIPELINED_MAX:
            self.stop_reading()

    def _ended(self, whole: bool) -> None:
        """A walk is over."""
        answer, self._answer = self._answer, None
        assert answer is not None
        self._asked = True
        self._hall.body_bytes -= self._held_bytes
        self._held_bytes = 0
        if self.lost:
            self._hall.connections.discard(self)
            return
        if not whole and not answer.started:
            status, body = self._front.fail(Internal())
            answer.whole(status, _JSON, body)
        if not answer.ended:
            self.transport.abort()  # an answer cut short must not look complete
            return
        request = answer.request
        if self._reader.incoming is request and not request.expects and not self._closing:
            self._past = request
            request.drop()
        else:
            self._go_on(request)

    def _go_on(self, request: Request) -> None:
        """What is asked next, or the end."""
        self._past = None
        if not request.complete or not self.will_keep(request):
            self._closing = True
            self.transport.close()
            return
        reader = self._reader
        if not self._reading and len(reader.requests) < bounds.PIPELINED_MAX:
            self.read_on()
        if reader.requests:
            asyncio.get_running_loop().call_soon(self._walk_on)
        elif not reader.begun:
            self._since_s = self._hall.now_s

    def _hold(self, request: Request) -> None:
        """Count what a body takes of our memory, from all connections together, until its walk is over."""
        self._hall.body_bytes += request.size_bytes - self._held_bytes
        self._held_bytes = request.size_bytes
        if self._hall.body_bytes > bounds.BODIES_BYTES_MAX and not request.complete:
            self.stop_reading()
            request.fail(Overloaded("there is no room for more bodies", retry_after_s=1))

    # ── the end ────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, now_s: float) -> None:
        """Give up what is late. Called by the sweep."""
        if self.pressed:
            untaken = self.transport.get_write_buffer_size()
            if self._untaken is None or self._untaken[0] != untaken:
                self._untaken = (untaken, now_s)
            elif now_s >= self._untaken[1] + bounds.WRITE_TIMEOUT_S:
                self.transport.abort()
        elif now_s >= self._since_s + self._patience_s():
            if self.idle or self._past is not None or (self._answer is not None and self._answer.started):
                self.transport.abort()
            else:
                self._refuse(TooSlow())

    def close_when_idle(self) -> None:
        """Part of draining. One that has just come is given a moment to ask, so that it can be told; one whose body is
        not whole yet is told at once."""
        if self._answer is not None and self._answer.request.wanted and not self._answer.request.complete:
            self._answer.request.fail(Draining(retry_after_s=1))
        if self.idle and not self.lost and (self._asked or self._hall.now_s > self._since_s + bounds.DRAIN_ASK_S):
            self.transport.close()

    def _patience_s(self) -> float:
        """How long the client may take for what it owes us now."""
        if not self._reading:
            return _NEVER
        if self._reader.incoming is not None:
            return bounds.BODY_TIMEOUT_S
        if self._reader.begun:
            return bounds.HEADER_TIMEOUT_S
        return bounds.KEEPALIVE_TIMEOUT_S if self.idle else _NEVER

    def _refuse(self, error: OpenmaasError) -> None:
        """An error that loses the framing: answered when nothing is on its way, then closed."""
        if self._closing:
            return
        self._closing = True
        incoming = self._reader.incoming
        if self._past is not None:
            self.transport.close()
        elif self._answer is None:
            status, body = self._front.fail(error)
            answer = Answer(self, incoming or Request(self, Head(), 0, False))
            answer.whole(_HTTP_STATUS.get(error.field or "", status), _JSON, body)
            self.transport.close()
        elif incoming is not None:
            incoming.fail(error)

    def _gone(self) -> None:
        answer = self._answer
        if answer is not None and not answer.gone and not answer.stays:
            answer.gone = True
            if answer.on_gone is not None:
                answer.on_gone()
