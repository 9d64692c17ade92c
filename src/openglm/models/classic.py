"""What the classic GLMs share: two-dimensional positions, a bidirectional prefix by mask, and their published names.

They are GLM (``glm.py``), GLM-130B (``glm_130b.py``) and ChatGLM-6B (``chatglm_6b.py``). No serving engine runs them,
and transformers has no class of them: what they compute is told by the official repositories, against which these files
were held. All three have one matrix for queries, keys and values; they differ in the order of its rows:

    by kind   all queries, all keys, all values                GLM
    by head   query, key and value of the first head, …        GLM-130B, ChatGLM-6B

A checkpoint of one order makes noise under the other, silently. Nothing here knows objectives or how blanks are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openglm.errors import Refused
from openglm.models.decoder import Decoder
from openglm.parts.attention import attend
from openglm.parts.cache import Cache, CacheShape, LayerCache
from openglm.parts.feed_forward import ACTIVATIONS

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Attention(nn.Module):
    """Multi-head attention from one matrix. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, width: int, heads: int, *, by_head: bool, attended: Attend = attend) -> None:
        super().__init__()
        self.heads, self.by_head, self.attended = heads, by_head, attended
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)

    def forward(self, x: Tensor, angles: Any, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Attend; ``angles`` turns queries and keys (``rotate``), None leaves them."""
        mixed = self.query_key_value(x)
        if self.by_head:
            q, k, v = mixed.unflatten(-1, (self.heads, 3, -1)).transpose(1, 2).unbind(-2)
        else:
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in mixed.chunk(3, dim=-1))
        if angles is not None:
            q, k = angles.rotate(q), angles.rotate(k)
        if cache is not None:
            k, v = cache.append(k, v)
        return self.dense(self.attended(q, k, v, mask))


class FeedForward(nn.Module):
    """GELU (GPT-2's approximation) between two matrices. ``[..., D] -> [..., D]``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(width, inner)
        self.dense_4h_to_h = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """``down(gelu(up x))``."""
        return self.dense_4h_to_h(ACTIVATIONS["gelu_tanh"](self.dense_h_to_4h(x)))


class DeepNormBlock(nn.Module):
    """The block of GLM-130B and ChatGLM-6B. ``[B, T, D] -> [B, T, D]``.

    ``a = LN(x); h = alpha a + attention(a); b = LN(h); out = alpha b + mlp(b)`` with ``alpha = sqrt(2 layers)``:
    DeepNorm (arXiv 2203.00555) as GLM-130B turned it round, each norm at the head of its half, so that the stream that
    goes on is the normalised one.
    """

    def __init__(self, width: int, layers: int, eps: float, attention: Attention, mlp: nn.Module) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(width, eps)
        self.attention = attention
        self.post_attention_layernorm = nn.LayerNorm(width, eps)
        self.mlp = mlp
        self.alpha = (2 * layers) ** 0.5

    def forward(self, x: Tensor, angles: Any, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Normalise, attend, normalise, feed forward."""
        a = self.input_layernorm(x)
        b = self.post_attention_layernorm(self.alpha * a + self.attention(a, angles, mask, cache))
        return self.alpha * b + self.mlp(b)


class Classic(Decoder):
    """A classic model. Its positions are ``[B, 2, T]``: the place in part A, and the step within a span."""

    #: After [gMASK] the first position counts on instead of staying at the blank (GLM-130B alone).
    COUNTS_ON: ClassVar[bool] = False

    def assemble(self, layers: Sequence[nn.Module], **before: nn.Module) -> None:
        """Register the trunk under its published names, ``before`` at its beginning, and the head."""
        c = self.config
        norm = nn.LayerNorm(c.hidden_size, c.layernorm_epsilon)
        self.transformer = nn.ModuleDict({**before, "layers": nn.ModuleList(layers), "final_layernorm": norm})
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.tie()

    @property
    def head(self) -> nn.Linear:
        """``lm_head``; tied to the embedding in all that were published, and then in no file or twice."""
        return self.lm_head

    @property
    def places(self) -> int | None:
        """How many positions there are, if they are learned: each is below this number."""
        return None

    def hidden(
        self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """As every decoder's; ``positions`` ``[B, 2, T]`` (B may be 1) must be given: tokens do not tell them.

        Raises:
            Refused: there are no positions, or they have another shape.
        """
        if positions is None or positions.ndim != 3 or positions.shape[1:] != (2, tokens.shape[1]):
            got = "none" if positions is None else list(positions.shape)
            raise Refused(
                f"positions: {type(self).__name__} wants [B, 2, {tokens.shape[1]}], not {got}",
                hint="Take them from openglm.data.blanks, or from models/infill.py when blanks are filled.",
            )
        return super().hidden(tokens, positions, mask, cache)

    def blocks(self) -> Sequence[nn.Module]:
        """``transformer.layers``."""
        return self.transformer["layers"]

    @property
    def final_norm(self) -> nn.Module:
        """``transformer.final_layernorm``."""
        return self.transformer["final_layernorm"]

    def cache_shapes(self) -> list[CacheShape]:
        """Keys and values of every head: the classic models share none."""
        c = self.config
        width = c.hidden_size // c.num_attention_heads
        return [CacheShape(c.num_attention_heads, width, width)] * c.num_layers


@torch.no_grad()
def scale_outputs(model: Classic, factor: float) -> None:
    """Make the matrices that write into the stream smaller by ``factor``: so deep sums stay of one size."""
    for name, weight in model.named_parameters():
        if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
            weight.mul_(factor)
