"""How fast a run could be: the products it does, beside the fastest product that this machine does when asked alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

SIDE = 1024  # of the square matrices whose product is the peak
ROUNDS = 12


def gemm_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of a product of two square matrices: the best of a dozen rounds."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(ROUNDS):
        _wait(device)
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 4 * 2 * SIDE**3 / best


def fastest(device: torch.device) -> Literal["bfloat16", "float32"]:
    """The precision whose products are faster on this machine: a CPU without instructions for bf16 only imitates it."""
    return "bfloat16" if gemm_peak(torch.bfloat16, device) > gemm_peak(torch.float32, device) else "float32"


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the products that ``work`` does, forward and backward, counted as they happen."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
