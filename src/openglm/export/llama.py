"""A modern GLM as one GGUF file, which llama.cpp runs: GLM-4, GLM-4-0414, and GLM-4.5 and 4.7-Flash with their experts
and MTP layers.

Classic models see both ways and count positions in two dimensions; no engine does, so they are refused. Names are those
of the ``gguf`` package's own table; what differs from the checkpoint is said where it is done: experts lie in one
stack for gate, up and down each, the router's bias has another name, and latent attention is in ``latent.py``.

Source: gguf-py (constants, tensor_mapping, quants) and llama.cpp's src/models of the four architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from torch import Tensor

from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.export import latent, vocabulary
from openglm.models.glm4_moe import ExpertsConfig
from openglm.models.glm4_moe_lite import Glm4MoeLiteConfig

Precision = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0"]

#: By the published class: ``model_type`` says "glm" of a classic model too.
ARCHITECTURES = {
    "GlmForCausalLM": gguf.MODEL_ARCH.CHATGLM,
    "Glm4ForCausalLM": gguf.MODEL_ARCH.GLM4,
    "Glm4MoeForCausalLM": gguf.MODEL_ARCH.GLM4_MOE,
    "Glm4MoeLiteForCausalLM": gguf.MODEL_ARCH.DEEPSEEK2,
}
#: Whose table has the names of prediction layers, which are the same everywhere: gguf 0.19 has none for deepseek2,
#: though llama.cpp reads them.
PREDICTING = gguf.MODEL_ARCH.GLM4_MOE


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the file says of itself."""

    name: str
    licence: str = ""
    about: str = ""
    chat_template: str = ""


def write(model: Any, tokenizer: Tokenizer, path: Path, precision: Precision, card: Card) -> None:
    """Write the file, whole or not at all.

    ``precision`` is of the matrices; norms, biases and the router stay F32, and rows whose width does not divide into
    blocks of 32 are F16 where ``precision`` has blocks. Raises ``Refused`` as ``check``.
    """
    check(model.config, tokenizer)
    arch, config = architecture_of(model.config), model.config
    partial = path.with_name(path.name + ".partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[arch])
    _describe(writer, config, arch, card)
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{precision}", gguf.LlamaFileType.ALL_F32))
    vocabulary.write(writer, tokenizer, config.vocab_size)
    for name, tensor in _tensors(model):
        _add(writer, name, tensor.detach().float().numpy(), precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def check(config: Any, tokenizer: Tokenizer) -> None:
    """Raises ``Refused`` for an architecture that llama.cpp does not run, and for a vocabulary that it cannot read."""
    arch = architecture_of(config)
    if arch == gguf.MODEL_ARCH.CHATGLM and config.num_attention_heads * config.head_dim != config.hidden_size:
        raise Refused(
            f"head_dim: {config.num_attention_heads} heads of {config.head_dim} are not as wide as the model "
            f"({config.hidden_size}), and llama.cpp takes that for granted of GLM-4",
            hint="Choose sizes that agree, or the architecture glm4, which may differ.",
        )
    if isinstance(config, Glm4MoeLiteConfig):
        for said in latent.contradictions(config):
            raise Refused(
                f"config.json: {said}; llama.cpp does not compute this model",
                hint="Serve it from its checkpoint, or choose sizes as GLM-4.7-Flash has them.",
            )
    vocabulary.check(tokenizer)


def architecture_of(config: Any) -> gguf.MODEL_ARCH:
    """llama.cpp's name for it. Raises ``Refused`` where it has none."""
    if config.ARCHITECTURE not in ARCHITECTURES:
        raise Refused(
            f"architectures: {config.ARCHITECTURE} cannot be written as GGUF, for llama.cpp does not run it",
            hint=f"Serve it from its checkpoint; {', '.join(ARCHITECTURES)} can be written.",
        )
    return ARCHITECTURES[config.ARCHITECTURE]


def names_of(config: Any) -> Callable[[str], str]:
    """What the file calls a tensor, by its published name with its suffix. Raises as ``architecture_of``."""
    layers = config.num_hidden_layers + getattr(config, "num_nextn_predict_layers", 0)
    tables = [gguf.get_tensor_name_map(arch, layers) for arch in (architecture_of(config), PREDICTING)]

    def named(published: str) -> str:
        known = (table.get_name(published, try_suffixes=(".weight", ".bias")) for table in tables)
        found = next(filter(None, known), None)
        assert found is not None, published
        return found

    return named


def _describe(writer: gguf.GGUFWriter, config: Any, arch: gguf.MODEL_ARCH, card: Card) -> None:
    writer.add_name(card.name)
    if card.licence:
        writer.add_license(card.licence)
    if card.about:
        writer.add_description(card.about)
    if card.chat_template:
        writer.add_chat_template(card.chat_template)
    further = getattr(config, "num_nextn_predict_layers", 0)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers + further)
    writer.add_head_count(config.num_attention_heads)
    if isinstance(config, Glm4MoeLiteConfig):
        latent.describe(writer, config)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.rotation.width)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    if isinstance(config, ExpertsConfig):
        _describe_experts(writer, config)


def _describe_experts(writer: gguf.GGUFWriter, config: ExpertsConfig) -> None:
    dense = sum(not config.has_experts(layer) for layer in range(config.num_hidden_layers))
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_group_count(config.n_group)
    writer.add_expert_group_used_count(config.topk_group)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_leading_dense_block_count(dense)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_nextn_predict_layers(config.num_nextn_predict_layers)


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its name in the file."""
    config, named = model.config, names_of(model.config)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        for published, part in _parts(config, name, tensor):
            yield named(published), part


def _parts(config: Any, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor in memory as the table knows it: the stack of experts apart into gate and up, latents into k and v."""
    if name.endswith("experts.gate_up_proj"):
        gate, up = tensor.chunk(2, dim=1)
        layer = name.removesuffix("gate_up_proj")
        yield f"{layer}gate_proj.weight", gate
        yield f"{layer}up_proj.weight", up
    elif name.endswith("experts.down_proj"):
        yield f"{name}.weight", tensor
    elif name.endswith("e_score_correction_bias"):
        yield f"{name.removesuffix('_bias')}.bias", tensor
    elif isinstance(config, Glm4MoeLiteConfig):
        yield from latent.parts(config, name, tensor)
    else:
        yield name, tensor


def _add(writer: gguf.GGUFWriter, name: str, data: np.ndarray, precision: Precision) -> None:
    kind = kind_of(name, data, precision)
    writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)


def kind_of(name: str, data: np.ndarray, precision: Precision) -> gguf.GGMLQuantizationType:
    """How a tensor is written in a file of this precision: vectors and routers as they are."""
    if data.ndim < 2 or "ffn_gate_inp" in name or name.endswith("mlp.gate.weight"):
        return gguf.GGMLQuantizationType.F32
    if precision in ("Q8_0", "Q4_0") and data.shape[-1] % 32:
        return gguf.GGMLQuantizationType.F16
    return gguf.GGMLQuantizationType[precision]
