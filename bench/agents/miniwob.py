"""MiniWoB++: 130 small tasks in a web page, each with a judge of its own, in our browser.

The pages are those of the ``miniwob`` wheel (MIT; Liu et al. 2018, https://arxiv.org/abs/1802.08802), opened as files
and driven directly: its gym environment is not imported. A task is 160 × 210 pixels of the page, which are shown four
times as large; the score that the pages print beside it is hidden. Its time does not run out: a step limit ends an
episode. Success is a raw reward above zero, as the page's own judge gives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from openmaas.apps.drivers.acts import Launch
from openmaas.apps.drivers.browser.driver import Browser, Plan, open_browser

#: Pixels of the screenshot to one of the page's, and how much of the page is shown.
SCALE, WIDTH, HEIGHT = 4, 240, 240
#: An hour, in milliseconds: the tasks' own ten seconds are for people and for fast machines.
TIME_MS = 3_600_000
READY_S = 60.0
START = """([seed, time]) => {
  const hidden = document.createElement("style");
  hidden.textContent = "#reward-display, #click-canvas { display: none !important }";
  document.head.append(hidden);
  core.EPISODE_MAX_TIME = time; Math.seedrandom(seed); core.startEpisodeReal();
}"""


def folder() -> Path:
    """Where the wheel has its pages."""
    spec = importlib.util.find_spec("miniwob")
    assert spec is not None, "the extra [dev] has it"
    assert spec.origin is not None
    return Path(spec.origin).parent / "html"


def tasks() -> list[str]:
    """The names of all tasks."""
    return sorted(path.stem for path in (folder() / "miniwob").glob("*.html"))


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser that reads the wheel's pages and reaches nothing else."""
    driver = await open_browser(Plan(files=(str(folder()),), width=WIDTH * SCALE, height=HEIGHT * SCALE, scale=SCALE))
    try:
        yield driver
    finally:
        await driver.close()


@dataclass(frozen=True)
class Episode:
    """A task with its seed, begun."""

    driver: Browser
    instruction: str

    async def reward(self) -> float | None:
        """What the page's judge gave, between -1 and 1; none before it has given it."""
        done, reward = await self.driver.ask("[WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL]")
        return float(reward) if done else None


@contextlib.asynccontextmanager
async def episode(driver: Browser, task: str, seed: int) -> AsyncIterator[Episode]:
    """This task with this seed, in this browser."""
    await driver.do(Launch((folder() / "miniwob" / f"{task}.html").as_uri()))
    await _until(driver, "document.readyState === 'complete' && typeof core === 'object' && core.cover_div !== null")
    await driver.ask(f"({START})([{str(seed)!r}, {TIME_MS}])")
    await _until(driver, "WOB_TASK_READY")
    said = await driver.ask("core.getUtterance()")
    yield Episode(driver, said if isinstance(said, str) else said["utterance"])


async def _until(driver: Browser, condition: str) -> None:
    async with asyncio.timeout(READY_S):
        while not await driver.ask(f"!!({condition})"):
            await asyncio.sleep(0.02)
