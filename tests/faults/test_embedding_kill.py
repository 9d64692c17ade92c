"""``kill -9`` while a document is embedded: it goes on where it stopped, and every chunk is paid once."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from openmaas.core.bounds import KNOWLEDGE_INPUTS_MAX
from shelves import OPEN, ask, embedded, new_base, search, upload

pytestmark = pytest.mark.alone

LINES = 3_200  # a hundred requests
VICTIMS = ("openmaas.house.control", "openmaas.house.relay", "openmaas.engines.program", "openmaas.house.jobs")


def test_a_document_is_embedded_once_whoever_dies_meanwhile(tmp_path: Path) -> None:
    chance = random.Random(1)
    house = Installation(tmp_path / "data")
    house.start()
    try:
        house.ready()
        house.settle_in(f"{OPEN}/knowledge")
        base_id = new_base(house)
        rows = [f"row {number} of many" for number in range(LINES)]
        told = upload(house, base_id, "rows.txt", "\n".join(rows).encode(), knowledge_type="3")
        document_id = told["data"]["successInfos"][0]["documentId"]
        for victim in (*VICTIMS, VICTIMS[-1], VICTIMS[-1]):
            time.sleep(0.1 + chance.random() * 0.2)
            house.kill(victim)
        house.ready()
        while (found := ask(house, "GET", f"{OPEN}/document/{document_id}"))[0] != 200:
            time.sleep(0.05)
        assert found[1]["data"]["embedding_stat"] == 0  # or the kills met nothing
        ready = embedded(house, document_id, timeout_s=60)
        assert (ready["embedding_stat"], ready["chunk_num"], ready["embedded_num"]) == (1, LINES, LINES)
        _, hits = search(house, "row 77 of many", base_id, recall_method="embedding")
        assert (hits[0]["text"], hits[0]["metadata"]["position"]) == ("row 77 of many", 77)
        deadline = time.monotonic() + 20
        while len(paid := paid_for(house)) < LINES // KNOWLEDGE_INPUTS_MAX:
            assert time.monotonic() < deadline, len(paid)
            time.sleep(0.2)
        assert len(paid) == LINES // KNOWLEDGE_INPUTS_MAX
        assert sum(row["prompt_tokens"] for row in paid) == 4 * LINES
    finally:
        house.end()


def paid_for(house: Installation) -> list[dict[str, Any]]:
    """What the embedding of documents has cost: receipts with an amount."""
    found, after = [], ""
    while after is not None:
        page = ask(house, "GET", f"/v1/receipts?limit=100&after={after}")[1]
        found += [row for row in page["data"] if (row["job_id"] or "").startswith("embedding_")]
        after = page["next_after"]
    return [row for row in found if Decimal(row["amount"])]
