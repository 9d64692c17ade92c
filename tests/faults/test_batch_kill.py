"""``kill -9`` in mid-batch, of every program, seeded: each line has one answer and is paid once, whoever died when."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from batches import begin, client_of, ended, line, lines_of, receipts_of
from installation import Installation

pytestmark = pytest.mark.alone

LINES = 200
VICTIMS = ("openmaas.house.jobs", "openmaas.house.relay", "openmaas.engines.program", "openmaas.house.control")


SEEDS = range(25) if os.environ.get("OPENMAAS_TEST_LONG") else [1]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_of_a_batch_is_lost_or_paid_twice(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    house = Installation(tmp_path / "data", batch_concurrency="4")
    house.start()
    try:
        house.ready()
        with client_of(house) as client:
            names = [f"line {number}" for number in range(LINES)]
            lines = [line(name, cue=f"tokens={chance.randint(1, 5)},pace_ms=20") for name in names]
            batch_id = begin(client, lines)
            order = [*VICTIMS, *VICTIMS[:2], *VICTIMS[:2]]
            chance.shuffle(order)
            for victim in order:
                time.sleep(chance.random() * 0.8)
                house.kill(victim)
            house.ready()
        with openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key=house.key, max_retries=8) as client:
            assert client.batches.retrieve(batch_id).status in ("validating", "in_progress")  # or the kills met nothing
            batch = ended(client, batch_id, 60)
            assert batch.status == "completed"
            answers, errors = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
        assert Counter(row["custom_id"] for row in answers + errors) == Counter(names)
        assert not errors
        assert batch.request_counts is not None
        assert batch.request_counts.completed == LINES
        by_line = {row["response"]["request_id"] for row in answers}
        for request_id in by_line:
            house.receipt(request_id, "posted")
        paid = {row["request_id"] for row in receipts_of(house, batch_id) if Decimal(row["amount"])}
        assert paid == by_line
    finally:
        house.end()
