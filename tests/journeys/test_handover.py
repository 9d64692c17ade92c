"""What the relay does not own goes to the control plane: here a server of the test, on the control plane's own socket.

The house is real and so is its relay; only the name of the control plane's socket is given to another program for the
length of the test, which then sees what really arrives, and answers what no page of ours answers: an upgrade, a hundred
megabytes, half an answer.
"""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installation import Installation
from openmaas.house.layout import Layout
from raw import Raw

MEGABYTE = 1 << 20
UPGRADE = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAA\r\n"


class Control(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A control plane that says what it saw."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.go_on = threading.Event()  #: what stands still until the test says so
        self.left = threading.Event()  #: the other side of a tunnel has closed
        super().__init__(path, Visit)


class Visit(socketserver.StreamRequestHandler):
    """One connection, one request."""

    server: Control

    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline():
            head += line
            if line == b"\r\n":
                break
        page = head.split()[1].split(b"?")[0].strip(b"/").decode()
        getattr(self, f"show_{page}")(head)

    def whole(self, body: bytes, extra: bytes = b"") -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body))

    def show_head(self, head: bytes) -> None:
        self.whole(head, b"x-openmaas-secret: internal\r\nconnection: x-hop\r\nx-hop: 1\r\nx-page: yes\r\n")

    def show_upload(self, head: bytes) -> None:
        self.server.go_on.wait(60)
        digest, size = hashlib.sha256(), 0
        for piece in self.pieces(head):
            digest.update(piece)
            size += len(piece)
        self.whole(f"{size} {digest.hexdigest()}".encode())

    def pieces(self, head: bytes) -> Iterator[bytes]:
        if b"transfer-encoding: chunked" in head.lower():
            while (size := int(self.rfile.readline(), 16)) > 0:
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        length = head.lower().partition(b"content-length:")[2].split()
        left = int(length[0]) if length else 0
        while left and (piece := self.rfile.read(min(left, MEGABYTE))):
            left -= len(piece)
            yield piece

    def show_large(self, _head: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (100 * MEGABYTE))
        try:
            for number in range(100):
                self.wfile.write(bytes([number]) * MEGABYTE)
        except OSError:
            self.server.left.set()

    def show_half(self, _head: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")

    def show_nothing(self, _head: bytes) -> None:
        pass

    def show_tunnel(self, head: bytes) -> None:
        assert b"sec-websocket-key: AAAA" in head
        assert b"upgrade: websocket" in head.lower()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-accept: BBBB\r\n\r\nhello from here;"
        )
        while data := self.connection.recv(65536):
            if data == b"bye":
                return
            self.wfile.write(data.upper())
        self.server.left.set()

    def show_deaf(self, _head: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        self.server.go_on.wait(60)
        while self.connection.recv(MEGABYTE):
            pass
        self.server.left.set()

    def show_closed(self, _head: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")


@contextmanager
def instead(house: Installation) -> Iterator[Control]:
    """Our server under the name of the house's control plane."""
    name = Path(Layout(str(house.data)).socket("control"))
    aside = name.with_suffix(".aside")
    name.rename(aside)
    server = Control(str(name))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
        name.unlink()
        aside.rename(name)


@pytest.fixture
def control(echo: Installation) -> Iterator[Control]:
    """A control plane of the test behind the shared house."""
    with instead(echo) as server:
        yield server
    assert echo.ask("GET", "/openapi.json")[0] == 200


def resident_bytes(house: Installation) -> int:
    """The memory that the relay really has."""
    (relay,) = house.children("openmaas.house.relay")
    lines = Path(f"/proc/{relay}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


# ── who is asking ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("control")
def test_what_a_client_says_of_who_it_is_does_not_arrive_and_its_credential_does(echo: Installation) -> None:
    claimed = {
        "x-openmaas-caller": "admin",
        "X-OpenMaaS-Organisation": "org_other",
        "x-forwarded-for": "10.0.0.1",
        "X-Forwarded-User": "root",
        "forwarded": "for=10.0.0.1",
        "x-real-ip": "10.0.0.1",
        "x-request-id": "req_forged",
        "connection": "keep-alive, x-named",
        "x-named": "hop",
        "te": "trailers",
        "proxy-authorization": "Basic xyz",
        "x-mine": "passes",
        "accept-language": "de",
    }
    with Raw(echo) as client:
        client.ask("GET", "/head?a=1&b=%20", headers="".join(f"{k}: {v}\r\n" for k, v in claimed.items()))
        status, told, seen = client.answer()
    assert status == 200
    first, *lines = seen.decode().split("\r\n")
    assert first == "GET /head?a=1&b=%20 HTTP/1.1"
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
    headers = dict(pairs)
    assert len(headers) == len(pairs)  # nothing stands twice
    assert not [value for value in headers.values() if value in ("admin", "org_other", "root", "hop", "req_forged")]
    assert "10.0.0.1" not in seen.decode()
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-mine"] == "passes"
    assert headers["accept-language"] == "de"
    assert headers["authorization"] == f"Bearer {echo.key}"
    for name in ("x-named", "te", "proxy-authorization", "forwarded", "x-real-ip", "x-forwarded-user"):
        assert name not in headers
    assert told["x-page"] == "yes"
    assert "x-openmaas-secret" not in told  # nor does what is said inside leave the house
    assert "x-hop" not in told


# ── an upgrade becomes a tunnel ───────────────────────────────────────────────────────────────────────────────────


def test_an_upgrade_is_tunnelled_both_ways_until_the_client_leaves(echo: Installation, control: Control) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/tunnel", headers=UPGRADE)
        status, headers = client.head()
        assert status == 101
        assert headers["upgrade"] == "websocket"
        assert headers["sec-websocket-accept"] == "BBBB"
        client.until(b"hello from here;")
        client.seen.clear()
        for text in (b"one", b"GET / HTTP/1.1\r\n\r\n", bytes(range(128)) * 10):  # no byte of it is HTTP to us
            client.send(text)
            client.until(text.upper())
            client.seen.clear()
        block = b"a" * (4 * MEGABYTE)
        sender = threading.Thread(target=client.send, args=(block,))
        sender.start()
        assert client.take(len(block)) == block.upper()
        sender.join()
        assert not control.left.is_set()
    assert control.left.wait(5), "the control plane was not told that the client has left"


def test_a_tunnel_ends_when_the_control_plane_ends_it(echo: Installation, control: Control) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/tunnel", headers=UPGRADE)
        assert client.head()[0] == 101
        client.until(b"hello from here;")
        client.send(b"bye")
        assert client.rest() == b"hello from here;"
    assert not control.left.is_set()


@pytest.mark.usefixtures("control")
def test_an_upgrade_that_is_declined_is_a_plain_answer(echo: Installation) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/closed", headers=UPGRADE)
        assert client.answer()[::2] == (403, b"no")


def test_a_tunnel_that_nobody_reads_does_not_grow_the_relay(echo: Installation, control: Control) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/deaf", headers=UPGRADE)
        assert client.head()[0] == 101
        before, most = resident_bytes(echo), 0
        sender = threading.Thread(target=client.send, args=(bytes(32 * MEGABYTE),))
        sender.start()
        for _ in range(10):
            time.sleep(0.1)
            most = max(most, resident_bytes(echo) - before)
        control.go_on.set()
        sender.join()
        print(f"\ntunnel: 34 MB are sent and not taken, the relay grew by {most / 1e6:.1f} MB")
        assert most < 8 * MEGABYTE


@pytest.mark.usefixtures("control")
def test_bytes_sent_before_the_switch_are_not_lost(echo: Installation) -> None:
    with Raw(echo) as client:
        client.patience(3)
        head = f"GET /tunnel HTTP/1.1\r\nhost: x\r\n{UPGRADE}\r\n"
        client.send(head.encode() + b"early")
        assert client.head()[0] == 101
        client.until(b"EARLY")


# ── bodies of any size, at anybody's pace ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_waits_at_the_client_and_not_in_the_relay(
    echo: Installation, control: Control, chunked: bool
) -> None:
    pieces, sent = 64, [0]
    block = hashlib.sha256(b"seed").digest() * (MEGABYTE // 32)
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {pieces * MEGABYTE}"
    with Raw(echo) as client:
        client.send(f"POST /upload HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode())
        before = resident_bytes(echo)

        def send() -> None:
            for _ in range(pieces):
                client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                sent[0] += len(block)
            if chunked:
                client.send(b"0\r\n\r\n")

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(1.0)
        grown, waiting = resident_bytes(echo) - before, pieces * MEGABYTE - sent[0]
        print(f"\nupload (chunked {chunked}): {waiting / 1e6:.0f} MB wait, the relay grew by {grown / 1e6:.1f} MB")
        assert waiting > pieces * MEGABYTE / 2
        assert grown < 8 * MEGABYTE
        control.go_on.set()
        sender.join()
        status, _, told = client.answer()
    assert status == 200
    assert told.decode() == f"{pieces * MEGABYTE} {hashlib.sha256(block * pieces).hexdigest()}"


def test_a_download_waits_at_the_control_plane_and_not_in_the_relay(echo: Installation, control: Control) -> None:
    with Raw(echo) as client:
        before = resident_bytes(echo)
        client.ask("GET", "/large")
        time.sleep(1.0)
        grown = resident_bytes(echo) - before
        print(f"\ndownload: 105 MB are asked and not read, the relay grew by {grown / 1e6:.1f} MB")
        assert grown < 8 * MEGABYTE
        _, _, body = client.answer()
    assert len(body) == 100 * MEGABYTE
    assert all(
        body[number * MEGABYTE : (number + 1) * MEGABYTE] == bytes([number]) * MEGABYTE for number in (0, 50, 99)
    )
    with Raw(echo) as client:
        client.ask("GET", "/large")
        client.until(b"\x00" * 100)
    assert control.left.wait(5), "the control plane was not told that the client has left"


@pytest.mark.usefixtures("control")
def test_an_answer_that_breaks_off_does_not_look_complete(echo: Installation) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/half")
        status, headers = client.head()
        assert (status, headers["content-length"]) == (200, "1000")
        assert len(client.rest()) < 1000


@pytest.mark.usefixtures("control")
def test_a_control_plane_that_says_nothing_is_an_error_with_a_name(echo: Installation) -> None:
    with Raw(echo) as client:
        client.ask("GET", "/nothing")
        status, headers, body = client.answer()
        assert status in (500, 502, 503)
        assert b"control plane" in body
        assert headers["x-request-id"].startswith("req_")
        client.ask("GET", "/healthz")
        assert client.answer()[0] == 200


def test_the_socket_of_the_control_plane_is_for_its_owner_alone(echo: Installation) -> None:
    folder = Path(Layout(str(echo.data)).socket("control")).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as direct:
        direct.connect(Layout(str(echo.data)).socket("control"))
        direct.sendall(b"GET /manage/v1/keys HTTP/1.1\r\nhost: x\r\nx-openmaas-caller: admin\r\n\r\n")
        assert b" 401 " in direct.recv(65536).partition(b"\r\n")[0]  # no header makes a caller of anybody
