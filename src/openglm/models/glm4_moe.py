"""GLM-4.5, 4.5-Air, 4.6 and 4.7 (``Glm4MoeForCausalLM``): experts, and a layer that predicts one token further.

Sources: arXiv 2508.06471; transformers, models/glm4_moe; DeepSeek-V3, arXiv 2412.19437, for router and prediction.
The block is GLM-4's (``glm4.py``) with three changes: rotation in halves, not interleaved; a norm on each query and key
head where ``use_qk_norm`` says so (GLM-4.5; not Air); and experts in place of the feed-forward layer from layer
``first_k_dense_replace`` on. 4.6 and 4.7 are the same graph with other numbers.

Multi-token prediction is ``model.layers.N`` behind the trunk: it reads the state of token i and the embedding of token
i + 1, and its output predicts token i + 2 through the same head.

    x = eh_proj([enorm(embed(token i+1)), hnorm(state i)])  →  one block with experts  →  shared_head.norm

The files of GLM-4.5, 4.7 and 4.7-Flash have an embedding and a head of that layer's own, those of 4.6 have not and it
uses the trunk's. No field of config.json says so: the names in the checkpoint do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from openglm.errors import Refused
from openglm.models.config import PublishedConfig
from openglm.models.decoder import CausalLM
from openglm.models.glm4 import Block, attention_contradictions, attention_of
from openglm.parts.cache import Cache
from openglm.parts.experts import Experts, MixtureOfExperts, SigmoidRouter
from openglm.parts.feed_forward import GatedFeedForward
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Rotation


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig(PublishedConfig, ABC):
    """The fields of config.json that are about experts and prediction, shared with GLM-4.7-Flash."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    n_routed_experts: int
    n_shared_experts: int
    num_experts_per_tok: int
    routed_scaling_factor: float
    rms_norm_eps: float
    norm_topk_prob: bool = True
    n_group: int = 1
    topk_group: int = 1
    num_nextn_predict_layers: int = 0
    rope_theta: float = 10_000.0
    max_position_embeddings: int = 131_072
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02

    def contradictions(self) -> Iterator[str]:
        """Enough experts for those chosen, in equal groups of two or more: a group is as good as its two best."""
        experts, groups, chosen = self.n_routed_experts, self.n_group, self.num_experts_per_tok
        if groups < 1 or experts % groups or (groups > 1 and experts < 2 * groups):
            yield f"n_routed_experts {experts} make no n_group {groups} groups of two or more"
        elif not 0 < self.topk_group <= groups:
            yield f"topk_group {self.topk_group} are chosen of n_group {groups} groups"
        elif not 0 < chosen <= experts // groups * self.topk_group:
            yield f"num_experts_per_tok {chosen} are chosen among {experts // groups * self.topk_group} experts"

    def prediction_prefixes(self) -> list[str]:
        """They are layers behind the trunk."""
        return [f"model.layers.{self.num_hidden_layers + n}." for n in range(self.num_nextn_predict_layers)]

    def without_prediction(self) -> Self:
        """The trunk alone."""
        return replace(self, num_nextn_predict_layers=0)

    @property
    @abstractmethod
    def rotation(self) -> Rotation:
        """How positions turn heads."""

    @abstractmethod
    def has_experts(self, layer: int) -> bool:
        """Whether layer number ``layer`` of the trunk has experts."""


@dataclass(frozen=True, kw_only=True)
class Glm4MoeConfig(ExpertsConfig):
    """Fields of config.json, by their names; those without a default must be there."""

    MODEL_TYPE = "glm4_moe"
    ARCHITECTURE = "Glm4MoeForCausalLM"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "decoder_sparse_step": 1,
    }

    first_k_dense_replace: int
    head_dim: int
    attention_bias: bool
    use_qk_norm: bool = False
    partial_rotary_factor: float = 0.5

    def contradictions(self) -> Iterator[str]:
        """Those of experts and those of attention."""
        yield from super().contradictions()
        yield from attention_contradictions(self)

    @property
    def rotation(self) -> Rotation:
        """Half of each head, the two quarters paired ("NeoX")."""
        return Rotation(int(self.head_dim * self.partial_rotary_factor), self.rope_theta, "halves")

    def has_experts(self, layer: int) -> bool:
        """All but the first few."""
        return layer >= self.first_k_dense_replace


def experts_of(config: ExpertsConfig) -> MixtureOfExperts:
    """The mixture of experts of one layer."""
    c = config
    router = SigmoidRouter(
        c.hidden_size,
        c.n_routed_experts,
        chosen=c.num_experts_per_tok,
        scale=c.routed_scaling_factor,
        normalise=c.norm_topk_prob,
        groups=c.n_group,
        groups_chosen=c.topk_group,
    )
    shared = GatedFeedForward(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts)
    return MixtureOfExperts(router, Experts(c.hidden_size, c.moe_intermediate_size, c.n_routed_experts), shared)


class PredictionHead(nn.Module):
    """The norm before the head, and the head where it is not the trunk's."""

    def __init__(self, config: ExpertsConfig, *, own: bool) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False) if own else None


class PredictionBlock(Block):
    """A block that predicts one token further; what it has beside a block is named as it is published."""

    def __init__(self, config: ExpertsConfig, attention: nn.Module, *, own_embedding: bool) -> None:
        c = config
        super().__init__(c.hidden_size, c.rms_norm_eps, attention, experts_of(c))
        self.enorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * c.hidden_size, c.hidden_size, bias=False)
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size) if own_embedding else None
        self.shared_head = PredictionHead(c, own=own_embedding)

    def joined(self, embedded: Tensor, hidden: Tensor) -> Tensor:
        """Embeddings of the next tokens and states of the present ones, both ``[B, T, D]``, as one ``[B, T, D]``."""
        return self.eh_proj(torch.cat((self.enorm(embedded), self.hnorm(hidden)), dim=-1))


class Glm4Moe(CausalLM):
    """GLM-4.5, 4.5-Air, 4.6, 4.7. ``own_mtp_embedding``: prediction layers have embedding and head of their own."""

    CONFIG: ClassVar[type[PublishedConfig]] = Glm4MoeConfig

    def __init__(self, config: ExpertsConfig, *, own_mtp_embedding: bool = False) -> None:
        c = config
        layers: list[nn.Module] = []
        for number in range(c.num_hidden_layers):
            dense = not c.has_experts(number)
            mlp = GatedFeedForward(c.hidden_size, c.intermediate_size) if dense else experts_of(c)
            layers.append(Block(c.hidden_size, c.rms_norm_eps, self.attention(c), mlp))
        layers += [
            PredictionBlock(c, self.attention(c), own_embedding=own_mtp_embedding)
            for _ in range(c.num_nextn_predict_layers)
        ]
        super().__init__(c, c.rotation, layers)

    def attention(self, config: Any) -> nn.Module:
        """Attention of one layer."""
        return attention_of(config, qk_norm_eps=config.rms_norm_eps if config.use_qk_norm else None)

    @classmethod
    def variant(cls, config: PublishedConfig, names: Collection[str]) -> dict[str, Any]:
        """Whether the checkpoint has an embedding of its own for the first prediction layer."""
        first = config.prediction_prefixes()[:1]
        return {"own_mtp_embedding": any(f"{prefix}embed_tokens.weight" in names for prefix in first)}

    def prediction_block(self, depth: int = 0) -> PredictionBlock:
        """The layer that predicts ``depth + 1`` tokens further. Raises ``Refused`` where there is none."""
        if depth >= self.config.num_nextn_predict_layers:
            raise Refused(
                f"prediction layer {depth} is asked of a model with {self.config.num_nextn_predict_layers}",
                hint="Set num_nextn_predict_layers in its configuration, or load a checkpoint that has them.",
            )
        block = self.model.layers[self.config.num_hidden_layers + depth]
        assert isinstance(block, PredictionBlock)
        return block

    def mtp_hidden(
        self,
        hidden: Tensor,
        tokens: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        *,
        depth: int = 0,
    ) -> Tensor:
        """States that predict one token further than ``hidden`` does: ``[B, T, D]``.

        ``hidden`` ``[B, T, D]`` is what ``hidden()`` gave (normalised), or ``mtp_hidden`` of the depth before.
        ``tokens`` ``[B, T]`` are what ``hidden`` was to predict: the next ones. ``positions`` are those of ``hidden``
        (only differences count), ``cache`` has a place for each depth.
        """
        block = self.prediction_block(depth)
        layer = None if cache is None else cache.layers[self.config.num_hidden_layers + depth]
        past, new = (0 if layer is None else layer.length), tokens.shape[1]
        if positions is None:
            positions = torch.arange(past, past + new, device=tokens.device)[None]
        embedded = (block.embed_tokens or self.embedding)(tokens)
        x = block(block.joined(embedded, hidden), self.rotation.angles(positions), mask, layer)
        return block.shared_head.norm(x)

    def mtp_logits(self, hidden: Tensor, *, depth: int = 0) -> Tensor:
        """What ``mtp_hidden`` gave ``[..., D]`` to ``[..., V]``: through the layer's own head, or the trunk's."""
        return (self.prediction_block(depth).shared_head.head or self.head)(hidden)
