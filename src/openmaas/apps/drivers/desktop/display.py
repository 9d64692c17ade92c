"""An X server seen and touched: its picture, its windows, its mouse, and whether a window has taken what it was sent.

Python's Xlib waits for its answers in the thread that asks, so all of this is called in the one worker thread of
``driver.py``. Several screens are one picture: with RandR, or Xinerama, the root window covers them all. There need be
no window manager; where there is one, its list of windows is believed (EWMH).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from Xlib import X, display, error
from Xlib.ext import xtest
from Xlib.protocol.event import ClientMessage
from Xlib.support import connect

from openmaas.apps.drivers.acts import Point
from openmaas.apps.drivers.driver import Box
from openmaas.core.bounds import DESKTOP_CLICK_MS, DESKTOP_SETTLE_S, DESKTOP_TAKEN_S, DESKTOP_WINDOWS_MAX
from openmaas.core.errors import DeviceLost

#: X's numbers of a mouse's buttons; a wheel's notches are buttons as well.
BUTTONS = {"left": 1, "middle": 2, "right": 3}
WHEEL = {"up": 4, "down": 5, "left": 6, "right": 7}
_ALL_PLANES = 0xFFFFFFFF


@dataclass(frozen=True)
class Window:
    """A window that somebody would call one."""

    number: int
    title: str
    box: Box
    active: bool


class Display:
    """A connection to an X server that lets its mouse and keyboard be moved by a program (XTEST)."""

    def __init__(self, name: str) -> None:
        _reach(name)
        try:
            self.x = display.Display(name)
        except (error.DisplayError, OSError) as reason:
            raise DeviceLost(f"no X server answers at {name}") from reason
        if not self.x.has_extension("XTEST"):
            self.x.close()
            raise DeviceLost(f"the X server at {name} has no XTEST")
        # A window may be gone before what was meant for it arrives: nothing to print.
        self.x.set_error_handler(lambda *_: None)
        self.root = self.x.screen().root
        self.root.change_attributes(event_mask=X.SubstructureNotifyMask)
        self._pings = itertools.count(1)

    def close(self) -> None:
        """Let go of it. Twice is as once."""
        with contextlib.suppress(error.ConnectionClosedError, OSError):
            self.x.close()

    def sever(self) -> None:
        """Break the connection under a thread that waits for an answer."""
        with contextlib.suppress(OSError):
            self.x.display.socket.shutdown(socket.SHUT_RDWR)

    def size(self) -> tuple[int, int]:
        """Of all screens together, in pixels."""
        now = self.root.get_geometry()
        return now.width, now.height

    def picture(self) -> tuple[bytes, int, int]:
        """A PNG of all that shows, its width and its height."""
        width, height = self.size()
        raw = self.root.get_image(0, 0, width, height, X.ZPixmap, _ALL_PLANES).data
        picture = Image.frombytes("RGB", (width, height), raw, "raw", "BGRX")
        written = io.BytesIO()
        picture.save(written, "PNG", compress_level=1)
        return written.getvalue(), width, height

    def windows(self) -> tuple[Window, ...]:
        """Those that show, the upper ones first."""
        width, height = self.size()
        active = {window.id for window in self._lineage(self.focus())}
        found = []
        for window in itertools.islice(self._tops(), DESKTOP_WINDOWS_MAX):
            try:
                shape, at = window.get_geometry(), window.translate_coords(self.root, 0, 0)
                left, top = max(-at.x, 0), max(-at.y, 0)
                right, bottom = min(-at.x + shape.width, width), min(-at.y + shape.height, height)
                shows = window.get_attributes().map_state == X.IsViewable and right > left and bottom > top
                if shows:
                    box = Box(left, top, right - left, bottom - top)
                    found.append(Window(window.id, self._title(window), box, window.id in active))
            except error.XError:
                continue  # it has just gone
        return tuple(found)

    def focus(self) -> Any:
        """The window that keys go to; without a window manager that may be the one under the mouse."""
        window = self.x.get_input_focus().focus
        return self.root.query_pointer().child if isinstance(window, int) else window

    def move(self, to: Point) -> None:
        """The mouse is there."""
        xtest.fake_input(self.x, X.MotionNotify, x=to.x, y=to.y)
        self.x.sync()

    def button(self, number: int, down: bool) -> None:
        """A button of it goes down or up."""
        xtest.fake_input(self.x, X.ButtonPress if down else X.ButtonRelease, number)
        self.x.sync()

    def click(self, number: int, count: int) -> None:
        """So many clicks. The server keeps the time between them: no busy machine makes two of a double click."""
        for _ in range(count):
            xtest.fake_input(self.x, X.ButtonPress, number, time=DESKTOP_CLICK_MS)
            xtest.fake_input(self.x, X.ButtonRelease, number)
        self.x.sync()

    def key(self, code: int, down: bool) -> None:
        """A key goes down or up."""
        xtest.fake_input(self.x, X.KeyPress if down else X.KeyRelease, code)
        self.x.sync()

    def wait_until_taken(self) -> None:
        """Return when the window that has the focus has read all that it was sent, or has had time to.

        A window that answers pings (EWMH ``_NET_WM_PING``) answers in the order of what it reads.
        """
        window = self._that_answers()
        if window is None:
            time.sleep(DESKTOP_SETTLE_S)
            return
        number = next(self._pings)
        protocols, ping = (self.x.intern_atom(name) for name in ("WM_PROTOCOLS", "_NET_WM_PING"))
        window.send_event(
            ClientMessage(window=window, client_type=protocols, data=(32, [ping, number, window.id, 0, 0]))
        )
        self.x.flush()
        deadline = time.monotonic() + DESKTOP_TAKEN_S
        while (left := deadline - time.monotonic()) > 0:
            if not self.x.pending_events():
                select.select([self.x.fileno()], [], [], min(left, 0.1))
                continue
            event = self.x.next_event()
            if event.type == X.ClientMessage and list(event.data[1][:2]) == [ping, number]:
                return

    def _that_answers(self) -> Any:
        ping = self.x.intern_atom("_NET_WM_PING")
        for window in self._lineage(self.focus()):
            try:
                if ping in (window.get_wm_protocols() or ()):
                    return window
            except error.XError:
                continue
        return None

    def _lineage(self, window: Any) -> Iterator[Any]:
        """The window, and those that it lies in."""
        while window and window.id != self.root.id:
            yield window
            try:
                window = window.query_tree().parent
            except error.XError:
                return

    def _tops(self) -> Iterator[Any]:
        listed = self.root.get_full_property(self.x.intern_atom("_NET_CLIENT_LIST_STACKING"), X.AnyPropertyType)
        if listed is not None and listed.value:
            yield from (self.x.create_resource_object("window", number) for number in reversed(listed.value))
        else:
            yield from reversed(self.root.query_tree().children)

    def _title(self, window: Any) -> str:
        named = window.get_full_property(self.x.intern_atom("_NET_WM_NAME"), X.AnyPropertyType)
        title = named.value if named is not None else window.get_wm_name() or ""
        return title.decode(errors="replace") if isinstance(title, bytes) else str(title)


def _reach(name: str) -> None:
    """Raises ``DeviceLost`` if nobody listens there. Xlib finds out as well, and leaves its sockets open."""
    try:
        _, protocol, host, number, _ = connect.get_display(name)
        local = not host and protocol != "tcp"
        address = f"/tmp/.X11-unix/X{number}" if local else (host or "127.0.0.1", 6000 + number)  # noqa: S108 - X's place
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as trial:
            trial.connect(address)
    except (error.DisplayNameError, OSError, OverflowError) as reason:
        raise DeviceLost(f"no X server answers at {name}") from reason
