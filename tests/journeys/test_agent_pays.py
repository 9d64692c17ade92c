"""An agent is a customer like any other: its requests have receipts, its money is what they say, and an empty purse
ends its task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from agent_desk import Desk, does
from agent_script import Script
from installation import Installation
from openmaas.apps.agent import events as e
from openmaas.apps.agent.spending import Limits

MODEL = "agents-pay"
BUYS = (
    does("tap", tells=['[2] button "Shop"'], element=2),
    does("tap", element=2),
    does("tap", element=2),
    does("finish", tells=["Thank you"], message="bought", succeeded=True),
)


@pytest.fixture
def house(tmp_path: Any) -> Iterator[Installation]:
    made = Installation(tmp_path / "data")
    made.start()
    yield made
    made.end()


def offer(house: Installation, script: Script) -> None:
    url = f"{script.url}/v1"
    for path, body in (
        ("/models", {"name": MODEL, "context_tokens": 200_000, "output_tokens_default": 4096}),
        ("/prices", {"model": MODEL, "input": "1000", "cached": "1000", "output": "2000"}),
        ("/deployments", {"model": MODEL, "kind": "openai_http", "url": url}),
    ):
        status, told = house.admin("POST", path, body)
        assert status == 201, told
    house.ready(MODEL)


def test_what_a_task_cost_is_the_sum_of_its_receipts(house: Installation) -> None:
    organisation, key = house.organisation("100")
    desk = Desk(BUYS, model=MODEL, platform_at=(f"http://127.0.0.1:{house.port}", key))
    offer(house, desk.script)
    ended = asyncio.run(desk.run())
    assert (ended.status, ended.message) == ("done", "bought")
    thoughts = desk.told(e.Thought)
    receipts = [house.receipt(each.request_id, key=key) for each in thoughts]
    assert len(receipts) == 4
    assert all(each["prompt_tokens"] == 100 and each["completion_tokens"] == 10 for each in receipts)
    # 100 × 1,000 and 10 × 2,000 a million: 0.12 each
    assert Decimal(ended.amount) == sum(Decimal(each["amount"]) for each in receipts) == Decimal("0.48")
    assert ended.tokens == 440
    assert Decimal("100") - house.settled(organisation) == Decimal("0.48")


def test_a_limit_of_money_ends_the_task_and_so_does_an_empty_purse(house: Installation) -> None:
    _, key = house.organisation("100")
    at = (f"http://127.0.0.1:{house.port}", key)
    desk = Desk(
        [does("scroll", direction="down"), does("scroll", direction="up")],
        loops=True,
        model=MODEL,
        platform_at=at,
        limits=Limits(money=Decimal("0.2")),
    )
    offer(house, desk.script)
    ended = asyncio.run(desk.run())
    assert (ended.status, ended.why, ended.amount) == ("failed", "limit", "0.24")
    assert "0.2 CNY" in ended.message
    _, poor = house.organisation("0.01")
    broke = Desk([], model=MODEL, platform_at=(at[0], poor))
    ended = asyncio.run(broke.run())
    assert (ended.status, ended.why) == ("failed", "model")
    assert ended.tokens == 0
