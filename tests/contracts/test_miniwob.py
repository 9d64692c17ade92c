"""MiniWoB++ through our browser: the page's own judge, the same task for the same seed."""

from __future__ import annotations

import shutil

import pytest
from bench.agents.miniwob import browser, episode, tasks

from devices_screens import waited
from openmaas.apps.drivers.acts import Tap

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: make setup-browser")


@needs_chromium
@waited
async def test_an_episode_is_judged_by_its_page_and_is_the_same_for_its_seed() -> None:
    async with browser() as driver:
        seen = []
        for _ in range(2):
            async with episode(driver, "click-button", 3) as begun:
                screen = await driver.look()
                seen.append((begun.instruction, screen.elements))
                assert await begun.reward() is None
                wanted = next(element for element in screen.elements[1:] if f'"{element.text}"' in begun.instruction)
                await driver.do(Tap(wanted.box.middle))
                assert (await begun.reward() or 0) > 0
        assert seen[0] == seen[1]
        # The score that a page prints beside its task is nothing that an agent sees.
        assert not any("reward" in element.text for element in seen[0][1])


def test_there_are_as_many_tasks_as_the_wheel_has() -> None:
    assert len(tasks()) == 130
