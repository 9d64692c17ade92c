"""MiniWoB++: 130 small tasks in a web page, each with a judge of its own, in our browser.

The pages are those of the ``miniwob`` wheel (MIT; Liu et al. 2018, https://arxiv.org/abs/1802.08802), opened as files
and driven directly: its gym environment is not imported. A task is 160 × 210 pixels of the page, which are shown four
times as large; the score that the pages print beside it is hidden. Its time does not run out: a step limit ends an
episode. Success is a raw reward above zero, as the page's own judge gives it.

    python -m bench.agents.miniwob --tasks all --seeds 3 --policy rule
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import random as lots
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.agents.policies import Answer, Item, Policy, Seen, random
from bench.agents.rules import rule
from openmaas.apps.drivers.acts import Hover, Key, Launch, Scroll, Tap, Type
from openmaas.apps.drivers.browser.driver import Browser, Plan, open_browser
from openmaas.apps.drivers.driver import Element
from openmaas.core.errors import CannotAct

#: Pixels of the screenshot to one of the page's, and how much of the page is shown.
SCALE, WIDTH, HEIGHT = 4, 240, 240
#: An hour, in milliseconds: the tasks' own ten seconds are for people and for fast machines.
TIME_MS = 3_600_000
READY_S = 60.0
STEPS = 25
POLICIES: dict[str, Policy] = {"rule": rule, "random": random}
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


async def attempt(driver: Browser, task: str, seed: int, policy: Policy) -> bool:
    """Whether a policy does it, within so many steps."""
    history: list[Answer] = []
    async with episode(driver, task, seed) as begun:
        for _ in range(STEPS):
            elements = await still(driver)
            items = [
                Item(number, element.role, element.text, element.value, element.checked, element.scrolls)
                for number, element in enumerate(elements, 1)
            ]
            answer = policy(Seen(begun.instruction, items, history))
            if answer["action"] == "finish":
                break
            with contextlib.suppress(CannotAct):
                await act(driver, answer, elements)
            history.append(answer)
            if await begun.reward() is not None:
                break
        return (await begun.reward() or 0) > 0


async def still(driver: Browser) -> tuple[Element, ...]:
    """The elements, once they have stopped to move or have had some time to."""
    before = (await driver.look()).elements
    for _ in range(10):
        elements = (await driver.look()).elements
        if elements == before:
            break
        before = elements
    return before


async def act(driver: Browser, answer: Answer, elements: tuple[Element, ...]) -> None:
    """Do what an answer says."""
    if answer["action"] == "wait":
        await asyncio.sleep(0.3)
        return
    if answer["action"] == "key":
        await driver.do(Key(tuple(answer["keys"])))
        return
    at = elements[answer["element"] - 1].box.middle
    if answer["action"] == "scroll":
        await driver.do(Scroll(at, answer["direction"], 3))
    else:
        await driver.do(Hover(at) if answer["action"] == "hover" else Tap(at))
    if answer["action"] == "type":
        await driver.do(Type(answer["text"], clear=True))


async def measure(names: list[str], seeds: int, policies: list[str], first: int) -> dict[str, dict[str, int]]:
    """How often each policy did each task, with this many seeds, from the first on."""
    found: dict[str, dict[str, int]] = {}
    async with browser() as driver:
        for task in names:
            found[task] = {}
            for name in policies:
                lots.seed(f"{task} {name}")
                found[task][name] = 0
                for seed in range(first, first + seeds):
                    try:
                        found[task][name] += await attempt(driver, task, seed, POLICIES[name])
                    except (CannotAct, TimeoutError) as error:
                        print(f"{task} {seed}: {error}", file=sys.stderr)
            print(f"{task:28}", *(f"{name} {found[task][name]}/{seeds}  " for name in policies), flush=True)
    return found


def main() -> None:
    """Measure, and print the table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--tasks", default="all", help="all, or names with commas between")
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    asked.add_argument("--policy", default="rule,random", help="rule, random, or both with a comma")
    given = asked.parse_args()
    names = tasks() if given.tasks == "all" else given.tasks.split(",")
    policies = given.policy.split(",")
    found = asyncio.run(measure(names, given.seeds, policies, given.first))
    for policy in policies:
        done = sum(counts[policy] for counts in found.values())
        most = given.seeds * len(found)
        print(f"{policy}: {done} of {most} episodes of {len(found)} tasks, {done / most:.3f}")


if __name__ == "__main__":
    main()
