"""One dial for the size of a model: its depth; all else follows, and says from what.

width     64 for each head; as many heads as keep the width at about 43 times the depth: GLM-4.5 is deep and narrow
kv heads  half of the heads: a cache half as large
inner     8/3 of the width, in steps of 64: SwiGLU with three matrices costs what two of four times the width cost
rate      of Muon 0.006 / sqrt(width / 256): wider matrices add up more updates
tokens    20 for each parameter inside the layers (Hoffmann et al. 2022, arXiv 2203.15556)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from openglm.bounds import DEPTH_MAX
from openglm.errors import Refused
from openglm.train.plan import Plan

HEAD = 64
ASPECT = 43
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the dial says. ``inside`` counts the parameters of the layers, without embedding and head."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    inside: int
    lr: float
    matrix_lr: float
    tokens: int

    def told(self, vocabulary: int) -> str:
        """The derivation, for the reader."""
        return "\n".join(
            [
                f"depth    {self.depth}  (the dial)",
                f"width    {self.width}  = {self.heads} heads of {HEAD}, near {ASPECT} × {self.depth}",
                f"kv heads {self.kv_heads}  = {self.heads} / 2",
                f"inner    {self.inner}  = 8/3 × {self.width}, in steps of 64",
                f"inside   {self.inside:,} parameters in the layers; embedding: {vocabulary * self.width:,} more",
                f"rates    {self.matrix_lr:.4g} for matrices (Muon), {self.lr:.4g} for the rest (AdamW)",
                f"tokens   {self.tokens:,} = {TOKENS_PER_PARAMETER} × {self.inside:,} would be enough",
            ]
        )

    def plan(self, steps: int, **changed: Any) -> Plan:
        """Of a run of so many steps, as the recipes take them: held-out text 20 times, a checkpoint 40 times."""
        usual = Plan(
            steps=steps,
            warmup=min(200, steps // 10),
            lr=self.lr,
            matrix_lr=self.matrix_lr,
            end=0.05,
            evaluate_every=max(1, steps // 20),
            save_every=max(1, steps // 40),
        )
        return replace(usual, **changed)


def sizes(depth: int) -> Sizes:
    """The sizes of a model of this depth. Raises ``Refused`` for a depth that no model has."""
    if not 1 <= depth <= DEPTH_MAX:
        raise Refused(f"depth is {depth}", hint=f"It must be 1 to {DEPTH_MAX}; 4 trains in an hour on two cores.")
    heads = max(2, 2 * round(ASPECT * depth / HEAD / 2))
    width = heads * HEAD
    kv_heads = heads // 2
    inner = -(-width * 8 // 3 // 64) * 64
    inside = depth * (width * width * 2 + 2 * width * kv_heads * HEAD + 3 * width * inner + 4 * width) + width
    scale = (256 / width) ** 0.5
    return Sizes(
        depth=depth,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        inner=inner,
        inside=inside,
        lr=3e-3 * scale,
        matrix_lr=6e-3 * scale,
        tokens=TOKENS_PER_PARAMETER * inside,
    )
