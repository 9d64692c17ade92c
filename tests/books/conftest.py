"""A desk for each test; its books must agree at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from desk import Desk
from office import Office
from servers import STORES


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A ledger without its programs."""
    made = Desk(tmp_path / "data")
    yield made
    assert made.disagreements() == []
    made.database.close()


@pytest.fixture(params=STORES)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "data", request.param)
    yield made
    assert made.disagreements() == []
    made.database.close()
