"""GLM-4.7-Flash as llama.cpp has it: latent attention is its architecture ``deepseek2``, where all heads share one key.

A query is multiplied into the latent space and values come out of it (DeepSeek-V2, arXiv 2405.04434, section 2.1.2), so
what the cache keeps of a token is one key of ``kv_lora_rank + qk_rope_head_dim`` numbers and no value beside it;
``kv_b_proj`` lies in two parts. The norms inside attention take the model's epsilon there, not their own of 1e-6.
Source: llama.cpp's conversion/deepseek.py, conversion/glm.py and src/models/deepseek2.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator

import gguf
from torch import Tensor

from openglm.models.glm4_moe_lite import Glm4MoeLiteConfig

#: llama.cpp takes models of so many layers for those of DeepSeek that have no ``q_lora_rank``, and does not read it.
WITHOUT_QUERY_LATENT = (26, 27)
#: llama.cpp multiplies these without a look at adapters: what one adds there would be lost, and nothing said.
PAST_ADAPTERS = ("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")


def contradictions(config: Glm4MoeLiteConfig) -> Iterator[str]:
    """What llama.cpp does not compute of the configuration, each said with the names of the fields."""
    kinds, layers = list(config.mlp_layer_types), config.num_hidden_layers
    if not config.rope_interleave:
        yield "rope_interleave is false, and it turns neighbours"
    if config.attention_bias:
        yield "attention_bias is true, and it has none"
    if kinds != sorted(kinds):
        yield "mlp_layer_types has a dense layer behind one of experts, and it knows dense ones in front"
    if config.q_lora_rank is not None and layers in WITHOUT_QUERY_LATENT:
        yield f"num_hidden_layers is {layers}, by which it takes the model for one without q_lora_rank"


def describe(writer: gguf.GGUFWriter, config: Glm4MoeLiteConfig) -> None:
    """The sizes of attention: as cached, of one head that all share, and as defined (``_mla``)."""
    c = config
    writer.add_head_count_kv(1)
    writer.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
    writer.add_value_length(c.kv_lora_rank)
    writer.add_key_length_mla(c.qk_nope_head_dim + c.qk_rope_head_dim)
    writer.add_value_length_mla(c.v_head_dim)
    writer.add_kv_lora_rank(c.kv_lora_rank)
    writer.add_q_lora_rank(c.q_lora_rank or 0)  # llama.cpp wants to read that there is none


def parts(config: Glm4MoeLiteConfig, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """``kv_b_proj`` as keys ``[heads, latent, nope]`` and values ``[heads, v, latent]``; else the tensor as it is."""
    if not name.endswith("kv_b_proj.weight"):
        yield name, tensor
        return
    heads = tensor.unflatten(0, (config.num_attention_heads, -1))
    keys, values = heads.split((config.qk_nope_head_dim, config.v_head_dim), dim=1)
    yield name.replace("kv_b_proj", "k_b_proj"), keys.mT.contiguous()
    yield name.replace("kv_b_proj", "v_b_proj"), values.contiguous()
