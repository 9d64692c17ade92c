"""ChatGLM-6B (March 2023): GLM's objective with rotary positions in two dimensions, and the first to talk.

Half of each head turns by the place in the text, the other half by the step within the answer. A conversation is a text
with one blank at its end, ``prompt [gMASK]``, and the answer is the span that fills it: the prompt is seen both ways,
the answer from left to right. DeepNorm's block as in GLM-130B, a plain GELU in place of its gate.

Sources: the remote code of THUDM/chatglm-6b (``modeling_chatglm.py``), whose names these are, as told by its port in
github.com/Oneflow-Inc/faster-chatglm-6b; transformers has no class of it. ``lm_head`` is in the files and tied to the
embedding. ``rotary_emb.inv_freq`` is in the files too, in fp16; it is not kept, and angles are computed in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openglm.models.classic import Attention, Classic, DeepNormBlock, FeedForward
from openglm.models.config import PublishedConfig
from openglm.parts.rotary import Angles, Rotation


@dataclass(frozen=True, kw_only=True)
class ChatGlm6BConfig(PublishedConfig):
    """Fields of config.json, by their names."""

    MODEL_TYPE = "chatglm"
    ARCHITECTURE = "ChatGLMModel"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "position_encoding_2d": True,
        "pre_seq_len": None,
        "prefix_projection": False,
        "quantization_bit": 0,
    }
    #: Ids of marks, which concern whoever writes prompts.
    MARKS: ClassVar[frozenset[str]] = frozenset({"gmask_token_id", "mask_token_id"})

    num_layers: int
    hidden_size: int
    inner_hidden_size: int
    num_attention_heads: int
    vocab_size: int
    max_sequence_length: int
    layernorm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    @classmethod
    def translated(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Without the ids of marks."""
        return {name: value for name, value in given.items() if name not in cls.MARKS}


@dataclass(frozen=True)
class PlaneAngles:
    """Angles in two dimensions: the first half of a head turns by one, the second half by the other."""

    place: Angles
    step: Angles

    def rotate(self, x: Tensor) -> Tensor:
        """``[B, H, T, d]`` in and out."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat((self.place.rotate(first), self.step.rotate(second)), dim=-1)


class ChatGlm6B(Classic):
    """ChatGLM-6B, or a small one like it."""

    CONFIG = ChatGlm6BConfig

    def __init__(self, config: ChatGlm6BConfig) -> None:
        c = config
        super().__init__(
            c, Rotation(c.hidden_size // c.num_attention_heads // 2, 10_000.0, "halves"), c.initializer_range
        )
        layers = [
            DeepNormBlock(
                c.hidden_size,
                c.num_layers,
                c.layernorm_epsilon,
                Attention(c.hidden_size, c.num_attention_heads, by_head=True),
                FeedForward(c.hidden_size, c.inner_hidden_size),
            )
            for _ in range(c.num_layers)
        ]
        self.assemble(layers, word_embeddings=nn.Embedding(c.vocab_size, c.hidden_size))

    @property
    def embedding(self) -> nn.Embedding:
        """``transformer.word_embeddings``."""
        words = self.transformer["word_embeddings"]
        assert isinstance(words, nn.Embedding)
        return words

    def placed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, PlaneAngles]:
        """Tokens, and angles of both positions."""
        return self.embedding(tokens), PlaneAngles(*(self.rotation.angles(row) for row in positions.unbind(1)))
