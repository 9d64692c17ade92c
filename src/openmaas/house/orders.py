"""What the supervisor hands a child on its standard input: one JSON line. The pipe then stays open as a lifeline;
its end means that the parent is gone, and the child drains and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.house.settings import Settings

log = logging.getLogger(__name__)


class Orders(msgspec.Struct, frozen=True):
    """A program's settings. For a relay: ``listener`` is the number of the inherited public socket, ``number`` its own
    among the house's relays."""

    settings: Settings
    listener: int = -1
    number: int = 0


def follow_orders(name: str, program: Callable[[Orders], None]) -> None:
    """Run a program as the supervisor's child, with the orders on the first line of standard input. What it cannot do
    without (a database that does not answer, a full disk) is one line in the log: the supervisor tries again."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    log_to_stderr(name, orders.settings.log_level)
    try:
        program(orders)
    except OpenmaasError as error:
        log.error("cannot go on: %s", error.message)
        sys.exit(1)


def say_ready() -> None:
    """Tell the parent that this program is up."""
    print("ready", flush=True)


def log_to_stderr(name: str, level: str) -> None:
    """One line a record, UTC, with the program's name."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format=f"%(asctime)s.%(msecs)03dZ {name} %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )


async def told_to_stop() -> None:
    """Return at SIGTERM, SIGINT, or when the parent is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(OSError):
        loop.add_reader(sys.stdin.fileno(), _drained, loop, stop)
    await stop.wait()


def _drained(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()
