"""openglm's tests want torch, which is an extra: without it each file says that it was skipped, and why."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)  # two files run at a time, and torch's threads wait by spinning


class WithoutTorch(pytest.Module):
    """A file of tests that cannot even be imported here."""

    def collect(self) -> Iterable[pytest.Item]:
        """Say so instead."""
        pytest.skip("openglm needs torch: make setup-glm", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave the file to pytest where torch is."""
    return None if find_spec("torch") is not None else WithoutTorch.from_parent(parent, path=module_path)
