"""An agent put together for a test: a paper phone, a scripted model, a person who answers as told, and the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agent_script import Script, Step
from openmaas.apps.agent.events import AnyEvent, Ended
from openmaas.apps.agent.gate import Ruling
from openmaas.apps.agent.loop import Thinker
from openmaas.apps.agent.reins import Reins
from openmaas.apps.agent.vault import Vault
from openmaas.apps.agent.work import Order, work
from openmaas.apps.client import Platform
from openmaas.apps.drivers.driver import Driver
from openmaas.apps.drivers.paper import Page, Paper, Thing

#: A shop of three pages, and a page that is none of its.
SHOP = {
    "home": Page((Thing("text", "Home"), Thing("button", "Shop", "shop"), Thing("button", "Notes", "notes"))),
    "shop": Page(
        (Thing("text", "Noodles ¥12"), Thing("link", "Noodles", "cart"), Thing("link", "Rice", "rice")), "shop"
    ),
    "rice": Page((Thing("text", "sold out"),), "shop"),
    "cart": Page((Thing("text", "Order summary"), Thing("button", "Pay ¥12", "paid")), "shop"),
    "paid": Page((Thing("text", "Thank you, it is on its way"),), "shop"),
    "notes": Page((Thing("textbox", "Title"), Thing("textbox", "PIN", secret=True), Thing("checkbox", "Pinned"))),
    "vault": Page((Thing("text", "hidden"),), "bank", secure=True, becomes=(1, "home")),
}


class Human:
    """A person who agrees or not, answers from a list, and takes over when asked; ``heard`` is what they were asked."""

    def __init__(self, agrees: bool = True, answers: Sequence[str] = ()) -> None:
        self.agrees, self.answers = agrees, list(answers)
        self.heard: list[str] = []

    async def agree(self, action: str, ruling: Ruling) -> bool:
        self.heard.append(f"{action}: {', '.join(ruling.risks)}")
        return self.agrees

    async def answer(self, question: str) -> str:
        self.heard.append(question)
        return self.answers.pop(0)

    async def take_over(self, reason: str) -> None:
        self.heard.append(reason)


class Desk:
    """One task on one device. ``events`` is what the agent told."""

    def __init__(self, steps: Sequence[Step] = (), **more: Any) -> None:
        self.script = Script(steps, loops=more.pop("loops", False))
        self.driver: Driver = more.pop("driver", None) or Paper(more.pop("pages", SHOP))
        self.person = more.pop("person", None) or Human()
        self.vault: Vault = more.pop("vault", Vault())
        self.mind: Thinker | None = more.pop("mind", None)
        self.platform_at: tuple[str, str] | None = more.pop("platform_at", None)
        self.events: list[AnyEvent] = []
        self.reins: Reins | None = None
        self.order: dict[str, Any] = {"model": "scripted", "grammar": "choice", "sees": False, **more}

    async def run(self, task: str = "Buy noodles.", told: Any = None) -> Ended:
        """The whole task. ``told`` hears each event, with this desk."""

        def tell(event: AnyEvent) -> None:
            self.events.append(event)
            if told is not None:
                told(self, event)

        self.reins = Reins()
        url, key = self.platform_at or (self.script.url, "key")
        with self.script:
            async with Platform(url, key) as platform:
                return await work(
                    Order(task=task, **self.order),
                    driver=self.driver,
                    platform=platform,
                    person=self.person,
                    tell=tell,
                    reins=self.reins,
                    vault=self.vault,
                    mind=self.mind,
                )

    def told(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [each for each in self.events if isinstance(each, kind)]


def does(action: str, *, tells: Sequence[str] = (), anywhere: bool = False, **members: Any) -> Step:
    """A step in the grammar ``choice``."""
    said = msgspec.json.encode({"thinking": "because", "action": action, **members}).decode()
    return Step(said, tells, anywhere)


def pages(**more: Page) -> Mapping[str, Page]:
    """The shop with other pages."""
    return {**SHOP, **more}
