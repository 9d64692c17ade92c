"""The processes of a run: one by itself, or as many as ``torchrun`` started; nobody else here knows the difference.

With several, layers are sharded by FSDP2 (``fully_shard``), and each rank reads its own rows of a batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor


@contextmanager
def ranks() -> Iterator[tuple[int, int]]:
    """(this rank, how many): joins the others for as long as it lasts, if ``torchrun`` says that there are any."""
    if "RANK" not in os.environ:
        yield 0, 1
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
        dist.barrier()  # who leaves while another still talks takes it down with it
    finally:
        dist.destroy_process_group()


def shard(model: nn.Module, dtype: torch.dtype) -> None:
    """Split every layer's weights over the ranks; gathered in ``dtype`` when used, gradients summed in float32."""
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for block in model.blocks():
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    for name in ("hidden", "logits", "mtp_hidden", "mtp_logits"):
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)


def summed(*values: Tensor) -> list[Tensor]:
    """Each value's sum over all ranks."""
    if not dist.is_initialized():
        return list(values)
    packed = torch.stack([value.detach().double() for value in values])
    dist.all_reduce(packed)
    return list(packed.unbind())


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def wait() -> None:
    """Until every rank is here."""
    if dist.is_initialized():
        dist.barrier()
