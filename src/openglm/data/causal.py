"""The plain objective of the modern line: each token is to predict the next.

Pure numpy. `batches.py` calls it. The end of a document is a target like any other; documents packed into one row see
those before them, as in the pre-training of GLM-4 (nothing masks them off from each other).
"""

from __future__ import annotations

import numpy as np

from openglm.data.rows import Ints, Row
from openglm.errors import Refused


def shifted(text: Ints, task: str = "causal") -> Row:
    """The row of a text of L + 1 tokens: the first L are read, the last L are predicted.

    Raises:
        Refused: fewer than two tokens.
    """
    if len(text) < 2:
        raise Refused(f"text: {len(text)} tokens", hint="The causal objective needs two at least.")
    return Row(
        tokens=text[:-1].astype(np.int64),
        targets=text[1:].astype(np.int64),
        positions=np.arange(len(text) - 1, dtype=np.int64),
        weights=np.ones(len(text) - 1, np.float32),
        task=task,
    )
