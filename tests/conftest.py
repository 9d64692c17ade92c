"""Fixtures: houses that are really running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from installation import Installation


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with the echo engine, shared by the tests that break nothing."""
    house = Installation(tmp_path_factory.mktemp("echo") / "data")
    house.start()
    house.ready()
    yield house
    assert house.stop() == 0
    audit = house.command("ledger", "audit")
    assert audit.returncode == 0, audit.stderr


@pytest.fixture(scope="session")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with the real embedded model."""
    house = Installation(tmp_path_factory.mktemp("smol") / "data", "smollm2-135m")
    house.start()
    house.ready()
    yield house
    assert house.stop() == 0
    audit = house.command("ledger", "audit")
    assert audit.returncode == 0, audit.stderr
