"""Fixtures: houses that are really running."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation

# Started in the background of a shell we would ignore ^C, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with the echo engine, shared by the tests that break nothing."""
    house = Installation(tmp_path_factory.mktemp("echo") / "data", tuning_concurrency="0")  # jobs wait there
    house.start()
    house.ready()
    yield house
    house.end()


@pytest.fixture(scope="session")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with the real embedded model."""
    house = Installation(tmp_path_factory.mktemp("smol") / "data", "smollm2-135m")
    house.start()
    house.ready()
    yield house
    house.end()


@pytest.fixture(scope="session")
def smol_gguf(smol: Installation) -> Path:
    """The weights of the embedded model as a file, for houses of their own that need not pull them again."""
    (found,) = (smol.data / "weights" / "smollm2-135m").glob("*.gguf")
    return found
