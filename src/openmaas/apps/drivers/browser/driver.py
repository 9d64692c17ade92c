"""A web browser that can be looked at and acted upon: a Chromium through Playwright, alone with its gate.

The newest page is the one that is looked at: a popup comes to the front, and when it is closed the one before is there
again. A page that hangs is a device that is lost. Which sites it may see is ``allowed.py``'s affair, at the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from importlib.resources import files as package_files
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec
from playwright.async_api import BrowserContext, Dialog, Error, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from openmaas.apps.drivers.acts import Act, Back, Home, Hover, Key, Launch, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.browser import chromium, hands, sheets
from openmaas.apps.drivers.browser.allowed import read
from openmaas.apps.drivers.browser.gatekeeper import Gatekeeper
from openmaas.apps.drivers.checking import check
from openmaas.apps.drivers.driver import Box, Element, Screen
from openmaas.core.bounds import (
    BROWSER_ACT_S,
    BROWSER_ELEMENTS_MAX,
    BROWSER_NAVIGATE_S,
    BROWSER_PAGES_MAX,
    BROWSER_TEXT_MAX,
)
from openmaas.core.errors import CannotAct, DeviceLost

ACTS: frozenset[type[Act]] = frozenset({Tap, Press, Hover, Swipe, Scroll, Type, Key, Back, Home, Launch})
T = TypeVar("T")
WEB = {"http": 80, "https": 443}
READ = package_files(__package__).joinpath("page.js").read_text()


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser is opened with.

    ``home`` is the page it begins with. ``allowed`` lists what it may reach (``allowed.py``), ``files`` the files and
    folders it may read. ``width`` × ``height`` are pixels of the screenshot, ``scale`` of which make one of the page's.
    """

    home: str = "about:blank"
    allowed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    width: int = 1280
    height: int = 800
    scale: float = 1.0
    headless: bool = True
    program: str = ""


async def open_browser(plan: Plan) -> Browser:
    """A browser that shows its home. Raises ``ExtraMissing`` without a Chromium, ``CannotAct`` without the page."""
    program = plan.program or chromium.program()
    async with AsyncExitStack() as stack:
        gate = Gatekeeper(read(plan.allowed))
        await gate.open()
        stack.push_async_callback(gate.close)
        profile = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="openmaas-browser-", ignore_cleanup_errors=True)
        )
        playwright = await stack.enter_async_context(async_playwright())
        size = (plan.width, plan.height)
        context = await chromium.start(playwright, program, profile, gate.port, size, plan.scale, plan.headless)
        stack.push_async_callback(_close, context)
        await chromium.keep_files(context, plan.files)
        browser = Browser(plan, context, gate, profile, stack)
        await browser.do(Home())
        browser._stack = stack.pop_all()
        return browser
    raise AssertionError("the stack lets nothing through")


class Browser:
    """The driver. ``gate.refused`` tells what it was not let through to."""

    kind = "browser"
    acts = ACTS

    def __init__(
        self, plan: Plan, context: BrowserContext, gate: Gatekeeper, profile: str, stack: AsyncExitStack
    ) -> None:
        self.plan, self.gate, self.profile = plan, gate, profile
        self.name = f"browser on port {gate.port}"
        self._context, self._stack = context, stack
        self._lost = asyncio.Event()
        self._askers: dict[Page, str] = {}  # a page that shows a dialog, and where the one is that asks
        self._asked = asyncio.Event()  # a dialog has come since the last act began
        self._pages: list[Page] = []
        self._front_page: Page | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._picture = b""
        context.on("close", lambda _: self._lost.set())
        context.on("page", self._came)
        for page in context.pages:
            self._came(page)

    async def look(self) -> Screen:
        """The page in front: its elements first, then its picture."""
        async with self._living():
            while (read := await self._unless_asked(self._read(await self._front()))) is None:
                pass
        found, self._picture = read
        elements = tuple(self._element(raw) for raw in found["elements"])
        return Screen(self._picture, self.plan.width, self.plan.height, found["url"], found["title"], elements)

    async def _read(self, page: Page) -> tuple[dict[str, Any], bytes] | None:
        try:
            found = await page.evaluate(READ, [BROWSER_ELEMENTS_MAX, BROWSER_TEXT_MAX])
            found["url"] = self._askers.get(page, page.url)  # as the browser has it: secrets are bound to it
            return found, await page.screenshot(animations="allow", caret="initial", timeout=BROWSER_ACT_S * 1000)
        except Error:
            if self._lost.is_set():
                raise
            # It is on its way to another page, or gone: whichever is in front in a moment is looked at.
            await asyncio.sleep(0.05)
            return None

    def _element(self, raw: dict[str, Any]) -> Element:
        left, top, width, height = (value * self.plan.scale for value in raw.pop("box"))
        # Rounded so that the middle of something narrow is still in it.
        box = Box(int(left), int(top), max(round(left + width) - int(left), 1), max(round(top + height) - int(top), 1))
        return Element(box=box, **raw)

    async def do(self, act: Act) -> None:
        """Do it. A dialog that comes of it is there when this returns."""
        check(act, self.acts, self.plan.width, self.plan.height)
        async with self._living():
            page = await self._front()
            try:
                await self._unless_asked(self._do(page, act))
            except Error:
                # A page that closes when it is tapped has taken it.
                if not page.is_closed() or await self._is_lost():
                    raise

    async def _unless_asked(self, doing: Coroutine[Any, Any, T]) -> T | None:
        """What comes of it; none if a dialog comes first, for until it is answered its page takes and tells nothing."""
        self._asked.clear()
        done = asyncio.ensure_future(doing)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((done, asked), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            done.cancel()
            raise
        finally:
            asked.cancel()
            self._keep(done)
        return await done if done.done() else None

    async def _do(self, page: Page, act: Act) -> None:
        match act:
            case Launch(app=address):
                await self._go(page, address)
            case Home():
                for other in self._pages[1:]:
                    await other.close()
                await self._go(self._pages[0], self.plan.home)
            case Back():
                gone = await page.go_back(wait_until="commit", timeout=BROWSER_NAVIGATE_S * 1000)
                if gone is None and len(self._pages) > 1:
                    await page.close(run_before_unload=False)
                elif gone is None:
                    raise CannotAct("there is no page to go back to")
            case _:
                await hands.do(page, act, self.plan.height, self.plan.scale)

    async def _go(self, page: Page, address: str) -> None:
        url = _url(address)
        if url.scheme == "file" and not chromium.listed(url.geturl(), self.plan.files):
            raise CannotAct(f"{address} is a file that is not listed")
        if url.scheme not in ("http", "https", "file") and url.geturl() != "about:blank":
            raise CannotAct(f"{url.scheme}: is no address to go to, only http and https")
        # The gate would refuse it as well; a reason in words is of more use to a model than a page that did not come.
        if url.scheme in WEB and not self.gate.allowed.name(url.hostname or "", url.port or WEB[url.scheme]):
            raise CannotAct(f"{address} is not among what this browser may reach")
        try:
            await page.goto(url.geturl(), wait_until="domcontentloaded", timeout=BROWSER_NAVIGATE_S * 1000)
        except PlaywrightTimeoutError as error:
            raise CannotAct(f"{address} does not answer") from error

    async def apps(self) -> tuple[str, ...]:
        """None: ``Launch`` takes an address."""
        return ()

    async def ask(self, script: str) -> Any:
        """What the page in front answers to a script: for a judge, who stands beside the agent and not behind it."""
        async with self._living():
            return await (await self._front()).evaluate(script)

    async def close(self) -> None:
        """Close it; its profile and its processes go with it."""
        self._lost.set()
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _front(self) -> Page:
        if not self._pages:
            await self._context.new_page()
        if self._front_page is not self._pages[-1]:
            # One that has been behind another draws nothing until it is told.
            self._front_page = self._pages[-1]
            await self._front_page.bring_to_front()
        return self._pages[-1]

    def _came(self, page: Page) -> None:
        if len(self._pages) >= BROWSER_PAGES_MAX:
            self._keep(asyncio.ensure_future(page.close()))
            return
        self._pages.append(page)
        page.on("close", lambda page: self._pages.remove(page) if page in self._pages else None)
        page.on("crash", lambda page: self._keep(asyncio.ensure_future(page.close())))
        page.on("dialog", lambda dialog: self._keep(asyncio.ensure_future(self._ask(dialog))))
        # A chooser of files is answered by nobody: without a listener it would open.
        page.on("filechooser", lambda _: None)

    async def _ask(self, dialog: Dialog) -> None:
        sheet = await sheets.show(self._context, self._picture, dialog)
        self._askers[sheet] = dialog.page.url if dialog.page else ""
        self._asked.set()
        await sheets.pass_on(sheet, dialog)

    def _keep(self, task: asyncio.Future[Any]) -> None:
        """Let it end by itself; what becomes of it shows on the screen."""
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    @contextlib.asynccontextmanager
    async def _living(self) -> AsyncIterator[None]:
        """What Playwright says within is said in the contract's words."""
        if self._lost.is_set():
            raise DeviceLost("the browser is closed")
        try:
            async with asyncio.timeout(BROWSER_ACT_S):
                yield
        except TimeoutError as error:
            raise DeviceLost("the page does not answer") from error
        except Error as error:
            if await self._is_lost():
                raise DeviceLost("the browser has died") from error
            raise CannotAct(error.message.splitlines()[0]) from error

    async def _is_lost(self) -> bool:
        with contextlib.suppress(Error):
            await self._context.cookies()
            return self._lost.is_set()
        self._lost.set()
        return True


def _url(address: str) -> SplitResult:
    try:
        url = urlsplit(address if "://" in address or address.startswith("about:") else f"https://{address}")
        url.port  # noqa: B018 - read for its error
    except ValueError as error:
        raise CannotAct(f"{address} is no address") from error
    return url


async def _close(context: BrowserContext) -> None:
    # One that has died is closed already.
    with contextlib.suppress(Error):
        await context.close()
