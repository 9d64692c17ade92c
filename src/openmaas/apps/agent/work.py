"""An agent put together from what was asked for: every face (terminal, API, bench) begins a task here alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from openmaas.apps.agent.checking import Checker, Expected, Nobody, Second
from openmaas.apps.agent.events import AnyEvent, Began, Ended
from openmaas.apps.agent.gate import Gate, read_policy
from openmaas.apps.agent.grammars.grammar import Setting
from openmaas.apps.agent.grammars.table import grammar_of
from openmaas.apps.agent.loop import Agent, Thinker
from openmaas.apps.agent.mind import Mind
from openmaas.apps.agent.reins import Person, Reins
from openmaas.apps.agent.spending import Limits
from openmaas.apps.agent.vault import Vault
from openmaas.apps.agent.world import Device
from openmaas.apps.client import Platform
from openmaas.apps.drivers.driver import Driver
from openmaas.core.clock import Clock


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is to do, and how.

    ``grammar``: by name; else the one its model is known to speak. ``sees``: whether the model takes pictures; a model
    of the grammar ``choice`` is taken for blind when nobody says. ``policy``: lines such as ``payments=deny``.
    ``expects``: what the last screen must say; ``checker``: a model that judges. Without either a claim stays one.
    """

    task: str
    model: str
    grammar: str | None = None
    sees: bool | None = None
    language: str = "en"
    policy: tuple[str, ...] = ()
    expects: tuple[str, ...] = ()
    checker: str = ""
    limits: Limits = Limits()


async def work(
    order: Order,
    *,
    driver: Driver,
    platform: Platform | None,
    person: Person,
    tell: Callable[[AnyEvent], object],
    reins: Reins | None = None,
    vault: Vault | None = None,
    checker: Checker | None = None,
    mind: Thinker | None = None,
    clock: Clock | None = None,
) -> Ended:
    """Do it. ``checker`` and ``mind`` stand in for what the order would make: a judge of the state, or a replay, which
    needs no platform.

    Raises ``FieldInvalid`` for an order that cannot be.
    """
    clock, vault = clock or Clock(), vault or Vault()
    gate, grammar = Gate(read_policy(order.policy)), grammar_of(order.model, order.grammar)
    today = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).astimezone().date().isoformat()
    setting = Setting(driver.kind, driver.acts, await driver.apps(), today, order.language)
    sees = order.sees if order.sees is not None else grammar is not grammar_of("", "choice")
    tell(Began(at_ms=clock.wall_ms(), task=order.task, device=driver.name, kind=driver.kind, model=order.model))
    if mind is None:
        assert platform is not None
        mind = Mind(platform, order.model, grammar, setting, clock, sees=sees, secrets_told=vault.told)
    agent = Agent(
        world=Device(driver, gate, vault, person, clock),
        mind=mind,
        person=person,
        reins=reins or Reins(),
        checker=checker or _checker(order, platform),
        limits=order.limits,
        clock=clock,
        tell=tell,
    )
    return await agent.run(order.task)


def _checker(order: Order, platform: Platform | None) -> Checker:
    if order.expects:
        return Expected(order.expects)
    return Second(platform, order.checker) if order.checker and platform else Nobody()
