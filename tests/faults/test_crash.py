"""The crash test, short: ``make crash`` has two hundred faults, ``make test-long`` two thousand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crash import MUST_BE_0, crash

pytestmark = pytest.mark.alone

FAULTS = 2_000 if os.environ.get("OPENMAAS_TEST_LONG") else 12


@pytest.mark.timeout(15_000 if FAULTS > 12 else 300)
def test_with_four_relays_and_postgresql_nothing_is_lost_doubled_or_overdrawn(tmp_path: Path) -> None:
    found = crash(tmp_path, FAULTS)
    assert {name: found[name] for name in MUST_BE_0} == dict.fromkeys(MUST_BE_0, 0), found
    assert found["answered to the end"] > FAULTS  # type: ignore[operator]  # a number
