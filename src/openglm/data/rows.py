"""What every objective makes of a text: one row of a batch, still in numpy.

It knows no objective. `blanks.py`, `causal.py` and `fim.py` make rows; `batches.py` lays them side by side as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence of L tokens. `targets` are aligned with `tokens`: position i is to predict `targets[i]`."""

    tokens: Ints  # [L]
    targets: Ints  # [L]
    positions: Ints  # [2, L] for blanks (in the text; within the span), [L] for the causal objectives
    weights: Floats  # [L]: what each target counts in the loss, 0 where nothing is to be predicted
    separator: int = 0  # so many first tokens are seen by every token; 0 is plain causal attention
    context: int = 0  # the length of part A (the corrupted text); 0 for the causal objectives
    task: str = "causal"  # for the log: token, sentence, document, causal, fim
