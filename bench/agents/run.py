"""``make agents``: how often a task is done, as a judge outside the agent says it, beside what the agent claims.

Two worlds: MiniWoB++ in a browser, and the simulated phone through adb. Rows are who decides: ``random`` is the luck in
the benchmark, ``rule`` and ``walk`` show what the mechanics carry and are no models, and whatever ``--model`` names is
asked at ``--url`` with ``OPENMAAS_KEY``. Each of them is asked over the same wire, and works through the same loop.

    python -m bench.agents.run --miniwob click-button,login-user --seeds 2 --phone 6
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random as lots
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench.agents import miniwob
from bench.agents.policies import Policy, Seen, random
from bench.agents.rules import rule
from bench.agents.serving import serving
from bench.agents.walking import Walk
from bench.agents.wire import read, spoken
from openmaas.apps.agent.checking import Judged
from openmaas.apps.agent.events import Ended, Verdict
from openmaas.apps.agent.recorded import Agreeing
from openmaas.apps.agent.reins import Reins
from openmaas.apps.agent.spending import Limits
from openmaas.apps.agent.work import Order, work
from openmaas.apps.client import Platform
from openmaas.apps.drivers.acts import Act
from openmaas.apps.drivers.driver import Driver
from openmaas.apps.opening import simulated
from openmaas.apps.simphone.phone import SimPhone
from openmaas.apps.simphone.world.judge import judge
from openmaas.apps.simphone.world.task import Step, Task, tasks
from openmaas.apps.simphone.world.wording import words
from openmaas.apps.simphone.world.world import World, world

#: Twenty of MiniWoB++'s tasks, of every kind that it has; ``--miniwob all`` is the hundred and thirty.
FEW = (
    *("click-button", "click-link", "click-option", "click-checkboxes", "click-tab-2", "click-dialog", "enter-text"),
    *("enter-password", "login-user", "search-engine", "use-autocomplete", "choose-list", "choose-date", "email-inbox"),
    *("social-media", "book-flight", "buy-ticket", "order-food", "find-word", "read-table"),
)
STEPS = 25
#: One moment for all worlds: what is "tomorrow" there is the same each time.
NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Who:
    """Who decides: a model at a service, or a policy here."""

    name: str
    policy: Policy | None = None
    url: str = ""
    key: str = ""
    grammar: str = "choice"

    @asynccontextmanager
    async def asked(self, policy: Policy | None = None) -> AsyncIterator[Platform]:
        """The service to ask; of a policy one of its own."""
        async with AsyncExitStack() as stack:
            policy, url = policy or self.policy, self.url
            if policy is not None:
                url = await stack.enter_async_context(serving(spoken(policy), read, self.name))
            yield await stack.enter_async_context(Platform(url, self.key))

    def order(self, task: str, language: str) -> Order:
        """The task as it is given to an agent; blind, for none of those who are asked here sees."""
        return Order(
            task=task, model=self.name, grammar=self.grammar, sees=False, language=language, limits=Limits(steps=STEPS)
        )


class Ending:
    """A driver whose task is over once its judge has spoken: a page of MiniWoB++ that is touched then begins anew."""

    def __init__(self, driver: Driver, over: Callable[[], Awaitable[object]], reins: Reins) -> None:
        self._driver, self._over, self._reins = driver, over, reins
        self.name, self.kind, self.acts = driver.name, driver.kind, driver.acts
        self.look, self.apps, self.close = driver.look, driver.apps, driver.close

    async def do(self, act: Act) -> None:
        """See ``Driver``."""
        await self._driver.do(act)
        if await self._over() is not None:
            self._reins.cancel()


class Owner(Agreeing):
    """The phone's owner: agrees to everything, and types what only they may."""

    def __init__(self, phone: SimPhone) -> None:
        self._phone = phone
        self.asked: list[Step] = []

    async def take_over(self, reason: str) -> None:
        """Type into the field that was asked for; on the glass, for adb sees nothing of it."""
        del reason
        for step in self.asked:
            await self._phone.system.glass.by_hand(step.target, step.text)
        self.asked.clear()


async def in_browser(who: Who, names: Sequence[str], seeds: range) -> Counter[str]:
    """MiniWoB++: how it ended, counted."""
    found: Counter[str] = Counter()
    async with miniwob.browser() as driver, who.asked() as platform:
        for name in names:
            for seed in seeds:
                lots.seed(f"{name} {seed} {who.name}")
                async with miniwob.episode(driver, name, seed) as episode:
                    reins = Reins()
                    ending = Ending(driver, episode.reward, reins)
                    ended = await work(
                        who.order(episode.instruction, "en"),
                        driver=ending,
                        platform=platform,
                        person=Agreeing(),
                        tell=lambda _: None,
                        reins=reins,
                    )
                    passed = (await episode.reward() or 0) > 0
                _count(found, who, f"{name} {seed}", passed, ended)
    return found


async def on_phone(who: Who, few: int, seeds: range, language: str, adb_port: int) -> Counter[str]:
    """The simulated phone: ``few`` of its tasks, spread over all of them."""
    found: Counter[str] = Counter()
    every = max(1, len(tasks()) // few)
    for task in tasks()[::every][:few]:
        for seed in seeds:
            lots.seed(f"{task.id} {seed} {who.name}")
            shown = world(seed, language, NOW)
            async with simulated(shown, adb_port) as (driver, phone):
                owner = Owner(phone)
                walk = Walk(task.steps(shown), words(language).ui, owner.asked.append)

                async with who.asked(walk if who.name == "walk" else None) as platform:
                    ended = await work(
                        who.order(task.instruction(shown), language),
                        driver=driver,
                        platform=platform,
                        person=owner,
                        tell=lambda _: None,
                        checker=Judged(partial(_judged, task, shown)),
                    )
                passed, why = await _judged(task, shown)
            _count(found, who, f"{task.id} {seed}", passed, ended, why)
    return found


async def _judged(task: Task, shown: World) -> tuple[bool, str]:
    verdict = judge(task, shown)
    return verdict.passed, verdict.why


def _count(found: Counter[str], who: Who, what: str, passed: bool, ended: Ended, why: str = "") -> None:
    """One more: whether the judge says so, what the agent claimed, and what became of a wrong claim."""
    claimed = ended.status == "done"
    found.update(tried=1, passed=passed, claimed=claimed, wrong=claimed and not passed, steps=ended.steps)
    found[f"refuted={ended.verdict is Verdict.REFUTED}"] += 1
    word = "passed" if passed else f"{ended.status} {ended.why} {ended.message[:120]} {why[:160]}".strip()
    print(f"  {who.name:20} {what:32} {ended.steps:3} steps  {word}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the table, and write it down."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--miniwob", default=",".join(FEW), help="names with commas between, all, or none")
    asked.add_argument("--phone", type=int, default=12, help="so many of the phone's sixty tasks")
    asked.add_argument("--seeds", type=int, default=1)
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    asked.add_argument("--language", default="en")
    asked.add_argument("--who", default="random,rule,walk", help="some of random, rule and walk; none for none")
    asked.add_argument("--model", action="append", default=[], help="a model at --url; several times for several")
    asked.add_argument("--url", default="http://127.0.0.1:8080")
    asked.add_argument("--grammar", default="choice", help="of the models")
    asked.add_argument("--adb-port", type=int, default=25037, help="of an adb server of its own")
    asked.add_argument("--into", type=Path, help="a file for the figures, as JSON")
    given = asked.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    names = {"all": miniwob.tasks(), "none": []}.get(given.miniwob, given.miniwob.split(","))
    ours: dict[str, Policy] = {"random": random, "rule": rule, "walk": nothing}
    those = [Who(name, ours[name]) for name in given.who.split(",") if name in ours]
    those += [
        Who(name, url=given.url, key=os.environ.get("OPENMAAS_KEY", ""), grammar=given.grammar) for name in given.model
    ]
    table = asyncio.run(_all(those, names, given.phone, seeds, given.language, given.adb_port))
    print(f"{'':24}{'done':>12}{'claimed':>10}{'wrongly':>10}{'steps':>8}")
    for row, found in table.items():
        done, steps = f"{found['passed']} of {found['tried']}", found["steps"] / found["tried"]
        print(f"{row:24}{done:>12}{found['claimed']:>10}{found['wrong']:>10}{steps:>8.1f}")
    if given.into:
        given.into.write_text(json.dumps({row: dict(found) for row, found in table.items()}, indent=2))


def nothing(seen: Seen) -> dict[str, str]:
    """The place of ``walk`` where there is no way written down."""
    del seen
    return {"action": "finish", "text": "nothing"}


async def _all(
    those: Sequence[Who], names: Sequence[str], few: int, seeds: range, language: str, adb_port: int
) -> dict[str, Counter[str]]:
    found = {}
    for who in those:
        if names and who.name != "walk":
            found[f"MiniWoB++ {who.name}"] = await in_browser(who, names, seeds)
        if few and who.name != "rule":
            found[f"SimPhone {who.name}"] = await on_phone(who, few, seeds, language, adb_port)
    return found


if __name__ == "__main__":
    main()
