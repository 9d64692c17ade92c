"""A browser and a desktop that show a page, for the contract tests; each skips visibly without its programs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import pytest

from openmaas.apps.drivers.browser.driver import Browser, Plan, open_browser

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
