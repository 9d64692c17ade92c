"""GLM (2021): the architecture that blank infilling was made for, from 110 million to 10 billion parameters.

GPT-2's block (norms before each half, GELU, biases everywhere), and two learned embeddings of positions that are added
to the token's own: one for the place in the corrupted text, one for the step within a span. The head is the embedding.
What makes it GLM is not in the blocks: it is the mask under which they run (``parts/masks.py``) and the objective.

Sources: arXiv 2103.10360; github.com/THUDM/GLM, ``model/modeling_glm.py`` and ``mpu/transformer.py``, whose names these
are, so that a checkpoint's ``module`` is this model's state. Dropout, which the official runs had at 0.1, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openglm.models.classic import Attention, Classic, FeedForward, scale_outputs
from openglm.models.config import PublishedConfig
from openglm.parts.cache import LayerCache


@dataclass(frozen=True, kw_only=True)
class GlmConfig(PublishedConfig):
    """Sizes, under the names of the published configuration."""

    MODEL_TYPE = "glm"
    ARCHITECTURE = "GLMModel"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "attention_scale": 1.0,
        "max_memory_length": 0,
        "relative_encoding": False,
        "spell_length": None,
    }
    #: What concerns training or splitting across devices, and is left out when read.
    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(
        """
        attention_dropout_prob checkpoint_activations checkpoint_num_layers embedding_dropout_prob output_dropout_prob
        output_predict parallel_output pool_token spell_func
        """.split()  # noqa: SIM905 - a paragraph of names is read faster than a column of strings
    )

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    vocab_size: int
    max_sequence_length: int
    block_position_encoding: bool = True
    layernorm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    @classmethod
    def translated(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Without what does not concern the graph."""
        return {name: value for name, value in given.items() if name not in cls.ELSEWHERE}


class Block(nn.Module):
    """Attention and feed-forward, each after its norm and beside the stream. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, config: GlmConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.input_layernorm = nn.LayerNorm(width, config.layernorm_epsilon)
        self.attention = Attention(width, config.num_attention_heads, by_head=False)
        self.post_attention_layernorm = nn.LayerNorm(width, config.layernorm_epsilon)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, x: Tensor, angles: None, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """GPT-2's walk."""
        x = x + self.attention(self.input_layernorm(x), angles, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Glm(Classic):
    """GLM-base to GLM-10B."""

    CONFIG = GlmConfig

    def __init__(self, config: GlmConfig) -> None:
        super().__init__(config, None, config.initializer_range)
        c = config
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        # One place more than tokens: the numbered blanks of the ablation stand at max_sequence_length.
        kinds = ["position_embeddings", "block_position_embeddings"][: 1 + c.block_position_encoding]
        learned = {kind: nn.Embedding(c.max_sequence_length + 1, c.hidden_size) for kind in kinds}
        self.assemble([Block(c) for _ in range(c.num_layers)], **learned)

    @property
    def places(self) -> int:
        """Learned: one more than ``max_sequence_length``."""
        return self.config.max_sequence_length + 1

    @property
    def embedding(self) -> nn.Embedding:
        """``word_embeddings``."""
        return self.word_embeddings

    def placed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, None]:
        """Token, place and step, added."""
        x = self.word_embeddings(tokens) + self.transformer["position_embeddings"](positions[:, 0])
        if self.config.block_position_encoding:
            x = x + self.transformer["block_position_embeddings"](positions[:, 1])
        return x, None

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """N(0, 0.02); matrices that write into the stream smaller by the root of twice the layers, as in GPT-2."""
        super().initialise(generator)
        scale_outputs(self, (2 * self.config.num_layers) ** -0.5)
