"""What a test that was made of a trace runs: its actions on a device, and what the last screen must say."""

from __future__ import annotations

import asyncio

from openmaas.apps.agent.events import Ended, Verdict
from openmaas.apps.agent.gate import Ruling
from openmaas.apps.agent.reins import Nobody
from openmaas.apps.agent.replay import Replay, read_actions
from openmaas.apps.agent.work import Order, work
from openmaas.apps.opening import opened


class Agreeing(Nobody):
    """Agrees to everything: a test plays on a device of its own, and what it plays was read before."""

    async def agree(self, action: str, ruling: Ruling) -> bool:
        """Yes."""
        del action, ruling
        return True


def replays(actions: str, *, device: str, says: tuple[str, ...]) -> None:
    """Play the actions. Raises ``AssertionError`` where it went otherwise than recorded."""
    ended = asyncio.run(_played(actions, device, says))
    assert ended.status == "done", ended.message
    assert not says or ended.verdict is Verdict.VERIFIED, ended.verdict_why


async def _played(actions: str, device: str, says: tuple[str, ...]) -> Ended:
    mind = Replay(read_actions(actions))
    async with opened(device) as driver:
        order = Order(task="replay", model="", expects=says)
        return await work(order, driver=driver, platform=None, person=Agreeing(), tell=lambda _: None, mind=mind)
