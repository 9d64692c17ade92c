"""What every GLM is to those who use it: tokens to hidden states, hidden states to logits, and no more.

``hidden`` and ``logits`` are apart so that a trainer applies the head, the widest matrix of all, to the positions that
carry loss. The walk of a token is the same in all of them (embed, blocks, norm); the blocks are in the models' own
files. ``CausalLM`` adds the names under which GLM-4 and later publish. Nothing here knows objectives or files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openglm.models.config import PublishedConfig
from openglm.parts.cache import Cache, CacheShape
from openglm.parts.experts import Experts, SigmoidRouter
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Rotation


class Decoder(nn.Module, ABC):
    """A language model, causal unless a mask says otherwise.

    Its ``state_dict()`` has the published names; only experts are stacked in memory.
    """

    CONFIG: ClassVar[type[PublishedConfig]]

    def __init__(self, config: PublishedConfig, rotation: Rotation | None, initial_std: float) -> None:
        super().__init__()
        self.config: Any = config
        self.rotation: Any = rotation  # None where positions are learned
        self.initial_std = initial_std

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """Tokens to vectors."""

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The layers of the trunk: ``block(x, angles, mask, layer_cache) -> x``, all ``[B, T, D]``."""

    @property
    @abstractmethod
    def final_norm(self) -> nn.Module:
        """What comes after the last block."""

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """Vectors to one number for each token of the vocabulary."""

    @abstractmethod
    def cache_shapes(self) -> list[CacheShape]:
        """What each layer keeps of a token."""

    def tie(self) -> None:
        """Make the head the embedding where the configuration says so; again after weights were assigned."""
        if self.config.tie_word_embeddings:
            self.head.weight = self.embedding.weight

    @classmethod
    def variant(cls, config: PublishedConfig, names: Collection[str]) -> dict[str, Any]:
        """What a checkpoint's tensor names say that its config.json does not: arguments of the class."""
        return {}

    def hidden(
        self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Tokens ``[B, T]`` to the normalised states of the last layer ``[B, T, D]``.

        ``positions`` ``[B, T]`` (or ``[1, T]``) go on from the cache unless given. ``mask`` is ``[..., T, S]`` over
        what the cache has and the new tokens (``parts/attention.py``); without it a token sees itself and all before.
        """
        past, new = (0 if cache is None else cache.length), tokens.shape[1]
        if positions is None:
            positions = torch.arange(past, past + new, device=tokens.device)[None]
        x, angles = self.placed(tokens, positions)
        for number, block in enumerate(self.blocks()):
            x = block(x, angles, mask, None if cache is None else cache.layers[number])
        return self.final_norm(x)

    def placed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        """Vectors ``[B, T, D]``, and what turns queries and keys: here positions do nothing else."""
        return self.embedding(tokens), self.rotation.angles(positions)

    def logits(self, hidden: Tensor) -> Tensor:
        """States ``[..., D]`` to ``[..., V]``."""
        return self.head(hidden)

    def forward(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``logits(hidden(...))`` for those who want it all: ``[B, T, V]``."""
        return self.logits(self.hidden(tokens, positions, mask))

    def cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for ``batch`` sequences of up to ``capacity`` tokens, where the model is and as precise."""
        weight = self.embedding.weight
        return Cache(self.cache_shapes(), batch=batch, capacity=capacity, dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Weights as before training: matrices from N(0, initializer_range), biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding | SigmoidRouter | Experts):
                for name, weight in module.named_parameters(recurse=False):
                    if name == "bias":
                        weight.zero_()
                    else:
                        weight.normal_(0.0, self.initial_std, generator=generator)
            elif isinstance(module, RMSNorm | nn.LayerNorm):
                module.weight.fill_(1.0)
                if isinstance(module, nn.LayerNorm):
                    module.bias.zero_()


class Trunk(nn.Module):
    """Names only: what is published under ``model.``."""

    def __init__(self, embed_tokens: nn.Embedding, layers: Sequence[nn.Module], norm: RMSNorm) -> None:
        super().__init__()
        self.embed_tokens = embed_tokens
        self.layers = nn.ModuleList(layers)
        self.norm = norm


class CausalLM(Decoder):
    """A decoder under the names of GLM-4 and later: ``model.embed_tokens``, ``model.layers.N``, ``lm_head``."""

    def __init__(self, config: Any, rotation: Rotation, layers: Sequence[nn.Module]) -> None:
        super().__init__(config, rotation, config.initializer_range)
        self.model = Trunk(
            nn.Embedding(config.vocab_size, config.hidden_size),
            layers,
            RMSNorm(config.hidden_size, config.rms_norm_eps),
        )
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()

    @property
    def embedding(self) -> nn.Embedding:
        """``model.embed_tokens``."""
        return self.model.embed_tokens

    def blocks(self) -> Sequence[nn.Module]:
        """``model.layers``, without those that predict further tokens."""
        return self.model.layers[: self.config.num_hidden_layers]

    @property
    def final_norm(self) -> nn.Module:
        """``model.norm``."""
        return self.model.norm

    @property
    def head(self) -> nn.Linear:
        """``lm_head``."""
        return self.lm_head

    def cache_shapes(self) -> list[CacheShape]:
        """Keys and values of the key-value heads."""
        c = self.config
        return [CacheShape(c.num_key_value_heads, c.head_dim, c.head_dim)] * len(self.model.layers)
