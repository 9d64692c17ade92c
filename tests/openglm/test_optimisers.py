"""Muon is torch's own Muon where that can go, and goes where it cannot; schedules begin and end where they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from openglm.train.optimisers import Muon, orthogonal
from openglm.train.schedules import cosine, linear, stable


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_muon_takes_the_steps_of_torchs_own(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    muon = Muon([ours], lr=0.02)
    oracle = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        muon.step()
        oracle.step()
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-3)  # both iterate in bf16, in another order


def test_a_stack_of_experts_is_turned_one_by_one() -> None:
    stack = torch.randn(3, 12, 20)
    together = orthogonal(stack)
    for number in range(3):
        torch.testing.assert_close(together[number], orthogonal(stack[number]), atol=2e-2, rtol=2e-2)


def test_what_is_turned_has_singular_values_near_one() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(orthogonal(torch.randn(64, 32)).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_every_schedule_warms_up_in_a_line_and_ends_where_it_says() -> None:
    for schedule in (cosine(100, 10, 0.1), linear(100, 10, 0.1), stable(100, 10, 20, 0.1)):
        assert [schedule(step) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
        assert schedule(100) == pytest.approx(0.1)
        path = [schedule(step) for step in range(10, 101)]
        assert path == sorted(path, reverse=True)
    assert stable(100, 10, 20)(79) == 1.0
    assert cosine(100, 0)(0) == 1.0
