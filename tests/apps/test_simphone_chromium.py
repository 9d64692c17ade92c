"""The simulated phone's pages in a real browser: tapped through, no wider than the screen, nothing from afar."""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime, timedelta, timezone

import pytest
from playwright.async_api import Page, async_playwright

from openmaas.apps.serving import served
from openmaas.apps.simphone.world.judge import judge
from openmaas.apps.simphone.world.task import Step, tasks
from openmaas.apps.simphone.world.world import world

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=timezone(timedelta(hours=8)))
TIMEOUT_MS = 60_000.0
#: The elements that say a text best: wholly, in one piece, at the beginning, somewhere.
FIND = """([text, number]) => {
  const tidy = said => said.replace(/\\s+/g, " ").trim();
  const said = node => tidy(node.ariaLabel || node.innerText);
  const nodes = [...document.querySelectorAll("a, button, label:has(input)")];
  for (const says of [
    node => said(node) === text,
    node => [...node.querySelectorAll("*")].some(each => tidy(each.innerText || "") === text),
    node => said(node).startsWith(text),
    node => said(node).includes(text),
  ]) {
    const found = nodes.filter(says);
    if (found.length) return found[number];
  }
}"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_tasks_are_done_by_tapping_in_a_browser(language: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: `make setup-browser`")
    asyncio.run(walked(chromium, language))


async def walked(chromium: str, language: str) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=TIMEOUT_MS)
        try:
            for name in ("across-dinner", "tickets-two", "shop-coupon", "across-film", "across-rent", "notes-item"):
                (task,) = (task for task in tasks() if task.id == name)
                made = world(11, language, NOW)
                made.state.popups |= {"delivery", "shop", "tickets"}
                async with served(made.app) as base:
                    page = await browser.new_page(viewport={"width": 360, "height": 640})
                    page.set_default_timeout(TIMEOUT_MS)
                    afar: list[str] = []
                    page.on("request", lambda request, base=base, afar=afar: afar.append(request.url))
                    await page.goto(f"{base}/")
                    for step in task.steps(made):
                        await tread(page, base, step)
                        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, (name, step)
                    await page.close()
                    assert all(url.startswith((base, "data:")) for url in afar)
                verdict = judge(task, made)
                assert verdict.passed, (name, verdict.why)
        finally:
            await browser.close()


async def tread(page: Page, base: str, step: Step) -> None:
    """A step, after what lies over the page is closed. A tap that something is in the way of fails."""
    while await page.locator("[role=dialog]").count():
        async with page.expect_navigation():
            await page.locator("[role=dialog] button").last.click()
    match step.verb:
        case "home":
            await page.goto(f"{base}/")
        case "back":
            async with page.expect_navigation():
                await page.locator("header a").first.click()
        case "type" | "person":
            await page.get_by_label(step.target, exact=True).fill(step.text)
        case _:
            found = (await page.evaluate_handle(FIND, [step.target, int(step.verb == "second")])).as_element()
            assert found is not None, step
            if await found.evaluate("node => node.tagName") == "LABEL":
                await found.click()
            else:
                async with page.expect_navigation():
                    await found.click()
