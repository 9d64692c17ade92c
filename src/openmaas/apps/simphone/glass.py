"""The screen of the simulated phone: one page of a Chromium without a display, touched with a finger.

It knows a world of pages at one address, ``{base}/`` for the home screen and ``{base}/NAME/`` for the application
``sim.NAME``. It knows no adb. A page with ``<meta name="secure" content="1">`` shows black and tells no elements.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, CDPSession, Error, Page, async_playwright

from openmaas.apps.drivers import picture
from openmaas.apps.simphone import tree
from openmaas.core import bounds
from openmaas.core.errors import DeviceLost

#: Pixels of the screen, and how many there are to one of CSS.
WIDTH, HEIGHT, DENSITY = 1080, 1920, 3
#: How often a question is put to pages that go away.
_ASKED = 3
PACKAGES = "sim."
LAUNCHER = "sim.launcher"
_SECURE = "() => document.querySelector('meta[name=secure][content=\"1\"]') !== null"
#: A finger that rests opens what a right click does.
_PRESSED = """([x, y]) => document.elementFromPoint(x, y)?.dispatchEvent(
  new MouseEvent('contextmenu', {bubbles: true, cancelable: true, clientX: x, clientY: y}))"""


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A Chromium for any number of phones."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise DeviceLost("there is no Chromium here: run `make setup-browser`")
    arguments = ["--disable-background-networking"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it has none for root
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def glass(browser: Browser, base_url: str, language: str) -> AsyncIterator[Glass]:
    """A screen that shows the home page of the world at this address, and asks for pages in this language."""
    context = await browser.new_context(
        viewport={"width": WIDTH // DENSITY, "height": HEIGHT // DENSITY},
        device_scale_factor=DENSITY,
        has_touch=True,
        is_mobile=True,
        locale=language,
    )
    try:
        page = await context.new_page()
        page.set_default_timeout(bounds.SIMPHONE_PAGE_TIMEOUT_S * 1000)
        shown = Glass(page, await context.new_cdp_session(page), base_url)
        await shown.home()
        yield shown
    finally:
        with contextlib.suppress(Error):  # the browser may be gone
            await context.close()


class Glass:
    """What can be seen on the screen and done to it. Places are in its pixels."""

    def __init__(self, page: Page, session: CDPSession, base_url: str) -> None:
        self._page = page
        self._session = session
        self._base_url = base_url
        self._finger = asyncio.Lock()

    @property
    def package(self) -> str:
        """The application that it shows, by the address."""
        base, shown = urlsplit(self._base_url), urlsplit(self._page.url)
        path = shown.path.removeprefix(base.path.rstrip("/")).strip("/")
        return f"{PACKAGES}{path.split('/')[0]}" if path else LAUNCHER

    async def tap(self, x: float, y: float) -> None:
        """A finger comes and goes."""
        await self.swipe((x, y), (x, y), bounds.SIMPHONE_TOUCH_STEP_MS)

    async def swipe(self, start: tuple[float, float], end: tuple[float, float], duration_ms: int) -> None:
        """A finger goes from one place to another. Where both are the same and it takes long, it presses."""
        async with self._finger:
            await self._touch("touchStart", start)
            lifted = "touchCancel"  # after a press, so that it is no tap as well, and when the command was cut off
            try:
                await self._move(start, end, duration_ms)
                if start == end and duration_ms >= bounds.SIMPHONE_PRESS_MS:
                    await self._page.evaluate(_PRESSED, [start[0] / DENSITY, start[1] / DENSITY])
                else:
                    lifted = "touchEnd"
            finally:
                await self._touch(lifted)

    async def text(self, text: str) -> None:
        """Put it into the field that has the focus; lost when there is none."""
        await self._page.keyboard.insert_text(text)

    async def by_hand(self, label: str, text: str) -> None:
        """What its owner does without adb: text into the field of this name, on a screen that adb may not see."""
        await self._page.get_by_label(label, exact=True).fill(text)

    async def press(self, keys: Sequence[str]) -> None:
        """Keys together, by their names as of ``KeyboardEvent.key``."""
        for key in keys:
            await self._page.keyboard.down(key)
        for key in reversed(keys):
            await self._page.keyboard.up(key)

    async def back(self) -> None:
        """The page before; on the home screen nothing."""
        if self.package != LAUNCHER:
            await self._page.go_back(wait_until="commit")

    async def home(self) -> None:
        """The home screen."""
        await self._page.goto(f"{self._base_url}/", wait_until="load")

    async def open(self, package: str) -> None:
        """The first page of an application."""
        await self._page.goto(f"{self._base_url}/{package.removeprefix(PACKAGES)}/", wait_until="load")

    async def secure(self) -> bool:
        """Whether what it shows is kept from pictures."""
        return bool(await self._ask(_SECURE))

    async def picture(self) -> bytes:
        """PNG of what it shows."""
        if await self.secure():
            return picture.black(WIDTH, HEIGHT)
        return await self._page.screenshot(caret="initial")

    async def tree(self) -> str:
        """The elements that it shows, as uiautomator writes them."""
        return tree.xml(self.package, [] if await self.secure() else await self._ask(tree.SCRIPT))

    async def _ask(self, script: str) -> Any:
        for _ in range(_ASKED):
            with contextlib.suppress(Error):  # a page that goes away while it is asked
                return await self._page.evaluate(script)
            await self._page.wait_for_load_state("domcontentloaded")
        return await self._page.evaluate(script)

    async def _move(self, start: tuple[float, float], end: tuple[float, float], duration_ms: int) -> None:
        # By the clock and not by the step: a machine that is busy moves in larger steps, not for longer.
        now = asyncio.get_running_loop().time
        begun_s, share = now(), 0.0
        while share < 1:
            await asyncio.sleep(bounds.SIMPHONE_TOUCH_STEP_MS / 1000)
            share = min(1.0, (now() - begun_s) * 1000 / max(duration_ms, 1))
            if start != end:
                x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
                await self._touch("touchMove", (x, y))

    async def _touch(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x / DENSITY, "y": y / DENSITY} for x, y in places]
        await self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
