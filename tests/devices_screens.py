"""A browser and a desktop that show a page, for the contract tests; each skips visibly without its programs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from openmaas.apps.drivers.acts import Launch
from openmaas.apps.drivers.browser.driver import Browser, Plan, open_browser
from openmaas.apps.drivers.desktop.driver import Desktop, open_desktop
from openmaas.apps.drivers.desktop.driver import Plan as DesktopPlan

SIZE = (1000, 700)


def waited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, as a test."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(test(*args, **named))

    return run


@contextlib.asynccontextmanager
async def browser(url: str, *allowed: str, **plan: object) -> AsyncIterator[Browser]:
    """A browser at this address, which may reach its server and what else is named."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: make setup-browser")
    width, height = SIZE
    asked = Plan(
        home=url, allowed=tuple(filter(None, (urlsplit(url).netloc, *allowed))), width=width, height=height, **plan
    )  # type: ignore[arg-type]
    driver = await open_browser(asked)
    try:
        yield driver
    finally:
        await driver.close()


@contextlib.asynccontextmanager
async def x_server(width: int, height: int) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """An X server without a screen, and its process."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb: make setup-browser")
    read, write = os.pipe()
    options = ["-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp", "-noreset"]
    server = await asyncio.create_subprocess_exec(
        "Xvfb", *options, pass_fds=(write,), stderr=asyncio.subprocess.DEVNULL
    )
    os.close(write)
    try:
        with os.fdopen(read) as number:
            yield f":{(await asyncio.to_thread(number.readline)).strip()}", server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()


@contextlib.asynccontextmanager
async def desktop(url: str, *windows: str, size: tuple[int, int] = SIZE) -> AsyncIterator[Desktop]:
    """A desktop with a window over all of it that shows this address; more ``windows`` lie side by side with it."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: make setup-browser")
    shown = (url, *windows)
    width, height = size[0] // len(shown), size[1]
    async with x_server(*size) as (display, _):
        with tempfile.TemporaryDirectory(prefix="desktop-", ignore_cleanup_errors=True) as folder:
            # A profile each: else the first of them opens the windows of all.
            commands = {
                f"web {place}": _window(address, f"{folder}/{place}", place * width, width, height)
                for place, address in enumerate(shown)
            }
            driver = await open_desktop(DesktopPlan(display, commands))
            try:
                for app in commands:
                    await driver.do(Launch(app))
                async with asyncio.timeout(60):
                    while len([window for window in (await driver.look()).elements if window.text]) < len(shown):
                        await asyncio.sleep(0.1)
                yield driver
            finally:
                await driver.close()
                await end(folder)


def _window(url: str, profile: str, left: int, width: int, height: int) -> tuple[str, ...]:
    place = (f"--window-position={left},0", f"--window-size={width},{height}", f"--user-data-dir={profile}")
    root = () if os.geteuid() else ("--no-sandbox",)
    return ("chromium", f"--app={url}", *place, *root, "--no-first-run", "--disable-background-networking")


def processes(word: str) -> list[int]:
    """The processes that have this in their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def end(word: str) -> None:
    """End the processes that have this in their command lines, and wait until they are gone."""
    while found := processes(word):
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        await asyncio.sleep(0.05)
