"""Mouse and keyboard of a page, in pixels of the screenshot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from playwright.async_api import Error, Page

from openmaas.apps.drivers.acts import Act, Hover, Key, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.core.bounds import BROWSER_HOVER_S
from openmaas.core.errors import CannotAct

#: In Playwright's type.
BUTTON_OF: dict[str, Literal["left", "middle", "right"]] = {"left": "left", "middle": "middle", "right": "right"}
#: Where a swipe's mouse is seen on its way; a page that is dragged over hears of each.
SWIPE_STEPS = 12
#: A closed list opens in the page, where it is seen and tapped like the rest (CSS ``appearance: base-select``, Chromium
#: 135). Before that version it opens where no picture shows it, and the keyboard alone chooses.
OPEN_IN_PAGE = """([x, y]) => {
  let [root, node] = [document, null];
  for (;;) {
    const hit = root.elementFromPoint(x, y);
    if (!hit || hit === node) break;
    node = hit;
    if (hit.tagName === "IFRAME" && hit.contentDocument) {
      const edge = hit.getBoundingClientRect();
      [x, y, root] = [x - edge.left - hit.clientLeft, y - edge.top - hit.clientTop, hit.contentDocument];
    } else if (hit.shadowRoot) root = hit.shadowRoot;
    else break;
  }
  const list = node?.closest("select, label")?.control ?? node?.closest("select");
  if (list?.tagName !== "SELECT" || list.multiple || list.size > 1) return;
  const [home, view] = [list.getRootNode(), list.ownerDocument.defaultView];
  if (home.openmaasLists) return;
  home.openmaasLists = new view.CSSStyleSheet();
  home.openmaasLists.replaceSync("select, ::picker(select) { appearance: base-select !important }");
  home.adoptedStyleSheets = [...home.adoptedStyleSheets, home.openmaasLists];
}"""
#: Whether what has the focus takes text: a field, or something of the page's own making.
TAKES_TEXT = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement || node?.contentDocument?.activeElement)
    node = node.shadowRoot?.activeElement ?? node.contentDocument.activeElement;
  if (!node || node.ownerDocument.designMode === "on") return !!node;
  const not = ["button", "submit", "reset", "checkbox", "radio", "image", "file"];
  if (node.tagName === "INPUT") return !not.includes(node.type);
  return node.isContentEditable || !["BODY", "HTML", "A", "BUTTON", "SUMMARY"].includes(node.tagName);
}"""

#: A field of dates or times has a picker that no picture shows, and parts that take keys each in its own way. What is
#: typed is set at once: null for another field, true, or what such a field takes.
SET_TIME = """text => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement || node?.contentDocument?.activeElement)
    node = node.shadowRoot?.activeElement ?? node.contentDocument.activeElement;
  const forms = { date: "2030-12-31", time: "23:59", "datetime-local": "2030-12-31T23:59", month: "2030-12",
    week: "2030-W52", color: "#aabbcc" };
  if (node?.tagName !== "INPUT" || !forms[node.type]) return null;
  const trial = Object.assign(node.ownerDocument.createElement("input"), { type: node.type, value: text });
  if (text && trial.value !== text.toLowerCase() && trial.value !== text) return forms[node.type];
  Object.getOwnPropertyDescriptor(trial.constructor.prototype, "value").set.call(node, text);
  for (const what of ["input", "change"]) node.dispatchEvent(new Event(what, { bubbles: true, composed: true }));
  return true;
}"""


@contextlib.asynccontextmanager
async def _held(page: Page) -> AsyncIterator[None]:
    """With the button down, which comes up again on every way out."""
    await page.mouse.down()
    try:
        yield
    finally:
        await asyncio.shield(asyncio.ensure_future(page.mouse.up()))


async def do(page: Page, act: Act, height: int, scale: float) -> None:
    """Do what is done with mouse and keyboard on a screen of this height."""

    async def move(to: Point, steps: int = 1) -> None:
        await page.mouse.move((to.x + 0.5) / scale, (to.y + 0.5) / scale, steps=steps)

    match act:
        case Tap(at=at, button=button, count=count):
            await page.evaluate(OPEN_IN_PAGE, [at.x / scale, at.y / scale])
            await move(at)
            await asyncio.sleep(BROWSER_HOVER_S)
            which = BUTTON_OF[button]
            for nth in range(1, count + 1):
                await page.mouse.down(button=which, click_count=nth)
                await page.mouse.up(button=which, click_count=nth)
        case Press(at=at, duration_ms=duration_ms):
            await move(at)
            async with _held(page):
                await asyncio.sleep(duration_ms / 1000)
        case Hover(at=at):
            await move(at)
        case Swipe(start=start, end=end, duration_ms=duration_ms):
            await move(start)
            async with _held(page):
                for step in range(1, SWIPE_STEPS + 1):
                    await asyncio.sleep(duration_ms / 1000 / SWIPE_STEPS)
                    part = step / SWIPE_STEPS
                    x, y = start.x + (end.x - start.x) * part, start.y + (end.y - start.y) * part
                    await move(Point(round(x), round(y)))
        case Scroll(at=at, direction=direction, amount=amount):
            await move(at)
            way = amount * height / 10 / scale
            dx, dy = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}[direction]
            await page.mouse.wheel(dx * way, dy * way)
        case Type(text=text, clear=clear):
            if not await page.evaluate(TAKES_TEXT):
                raise CannotAct("nothing that takes text has the focus: tap a field first")
            taken = await page.evaluate(SET_TIME, text)
            if isinstance(taken, str):
                raise CannotAct(f"this field takes what looks like {taken}")
            if taken:
                return
            if clear:
                await page.keyboard.press("Control+a")
                await page.keyboard.press("Delete")
            await page.keyboard.type(text)
        case Key(keys=keys):
            await _chord(page, keys)
        case _:
            raise AssertionError(act)


async def _chord(page: Page, keys: tuple[str, ...]) -> None:
    held = []
    try:
        for key in keys:
            try:
                await page.keyboard.down(key)
                held.append(key)
            except Error:
                # Of no key that a keyboard of the United States has.
                await page.keyboard.insert_text(key)
    finally:
        for key in reversed(held):
            await page.keyboard.up(key)
