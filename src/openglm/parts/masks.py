"""Who sees whom: the attention mask that follows from where part A ends.

It knows no objective: where part A ends is a number. Batches, classic models and whoever decodes with them call it.

Source: `build_mask_matrix` of github.com/THUDM/GLM (`mpu/transformer.py`).
"""

from __future__ import annotations

import torch


def prefix_mask(separators: torch.Tensor, length: int, queries: int | None = None) -> torch.Tensor:
    """The mask of a batch, true where a query (row) sees a key (column), as `scaled_dot_product_attention` takes it.

    Part A (the first `separators[b]` tokens) is seen by everyone, all else from left to right. With separator 0 that is
    plain causal attention. Padding stands last, so that no token that counts sees it.

    Args:
        separators: [B] integers.
        length: T, how many keys there are.
        queries: Q, only the last so many rows: what a step with a cache needs. All T without it.

    Returns:
        [B, 1, Q, T] of bool; the 1 is for the heads.
    """
    queries = length if queries is None else queries
    column = torch.arange(length, device=separators.device)
    causal = column[None, :] <= column[length - queries :, None]
    return (causal[None] | (column[None, None, :] < separators[:, None, None]))[:, None]
