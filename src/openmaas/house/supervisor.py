"""The supervisor: starts every program of the house, watches it, and starts it again with back-off when it dies.

A child gets its orders as one line on standard input and says ``ready`` on standard output. An engine that stops
answering its health page, though its process lives, is stalled: it is killed and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping

from openmaas.core.bounds import (
    PROBE_FAILURES_MAX,
    PROBE_TIMEOUT_S,
    RESTART_DELAY_S,
    RESTART_DELAY_S_MAX,
    STALL_PROBE_INTERVAL_S,
)
from openmaas.core.errors import OpenmaasError

log = logging.getLogger(__name__)


class Child:
    """One program: a module, its orders, and what it inherits."""

    def __init__(
        self,
        name: str,
        module: str,
        orders: bytes,
        *,
        descriptors: tuple[int, ...] = (),
        health: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.starts = 0
        self._module = module
        self._orders = orders
        self._descriptors = descriptors
        self._health = health
        self._environment = {**(environment or {}), **os.environ}  # what the operator sets wins
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process, while it lives."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Keep the program running until ``stop``."""
        delay_s = RESTART_DELAY_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            code = await self._live()
            if self._stopping.is_set():
                return
            if loop.time() - began_s > RESTART_DELAY_S_MAX:
                delay_s = RESTART_DELAY_S
            log.warning("%s ended with %s; starting it again in %.1f s", self.name, code, delay_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):  # not `wait_for`, which can lose a cancellation before Python 3.12
                    await self._stopping.wait()
                return
            delay_s = min(delay_s * 2, RESTART_DELAY_S_MAX)

    async def stop(self, timeout_s: float) -> None:
        """Close the lifeline, so that the program drains; kill it when it takes longer."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            log.warning("%s did not leave in %.0f s and is killed", self.name, timeout_s)
            process.kill()
            await process.wait()

    async def _live(self) -> int:
        self.starts += 1
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._descriptors,
            env=self._environment,
            start_new_session=True,  # ^C reaches the house alone, which then drains the children in order
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(self._orders + b"\n")
            await process.stdin.drain()
        if self._stopping.is_set():  # said while it was being started
            process.stdin.close()
        watch = asyncio.ensure_future(self._watch(process))
        try:
            while line := await process.stdout.readline():
                if line == b"ready\n":
                    self.ready.set()
            return await process.wait()
        finally:
            self.ready.clear()
            watch.cancel()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill an engine that was up and has stopped answering."""
        if not self._health:
            return
        await self.ready.wait()
        failures = 0
        while failures < PROBE_FAILURES_MAX:
            await asyncio.sleep(STALL_PROBE_INTERVAL_S)
            failures = 0 if await asyncio.to_thread(answers, self._health) else failures + 1
        log.warning("%s is stalled and is killed", self.name)
        process.kill()


def answers(path: str) -> bool:
    """True when the engine behind the Unix socket ``path`` answers its health page in time."""
    connection = http.client.HTTPConnection("engine")
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PROBE_TIMEOUT_S)
        connection.sock.connect(path)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Family:
    """All children by name; ``renew`` starts and stops those of the catalogue."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, child: Child) -> Child:
        """Run ``child`` under its name."""
        self.children[child.name] = child
        self._tasks[child.name] = asyncio.ensure_future(child.run())
        return child

    async def stop(self, name: str, timeout_s: float) -> None:
        """Stop one child and forget it."""
        child = self.children.pop(name, None)
        if child is not None:
            await child.stop(timeout_s)
            await self._tasks.pop(name)

    async def renew(self, wanted: Mapping[str, Callable[[], Child]], prefix: str, timeout_s: float) -> None:
        """Make the children whose names begin with ``prefix`` those that are wanted.

        What cannot be made is said in the log and left out.
        """
        gone = [name for name in self.children if name.startswith(prefix) and name not in wanted]
        await asyncio.gather(*[self.stop(name, timeout_s) for name in gone])
        for name, make in wanted.items():
            if name not in self.children:
                try:
                    self.start(make())
                except OpenmaasError as error:  # the others start all the same
                    log.error("%s cannot be started: %s", name, error)
