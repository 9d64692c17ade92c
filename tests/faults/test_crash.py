"""The crash test, short: ``make crash`` has two hundred faults, ``make test-long`` two thousand, in ten houses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crash import MUST_BE_0, crash

pytestmark = pytest.mark.alone

#: Ten houses of two hundred: the whole books are audited after each fault, so one of two thousand would take hours.
FAULTS, SEEDS = (200, range(1, 11)) if os.environ.get("OPENMAAS_TEST_LONG") else (12, range(1, 2))


@pytest.mark.timeout(3_000 if FAULTS > 12 else 300)
@pytest.mark.parametrize("seed", SEEDS)
def test_with_four_relays_and_postgresql_nothing_is_lost_doubled_or_overdrawn(tmp_path: Path, seed: int) -> None:
    found = crash(tmp_path, FAULTS, seed)
    assert {name: found[name] for name in MUST_BE_0} == dict.fromkeys(MUST_BE_0, 0), found
    assert found["answered to the end"] > FAULTS  # type: ignore[operator]  # a number
