"""ChatGLM2 and 3: no library has a class to hold them against, but GLM-4 is the same graph under other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_models import decoded, far, randomise, some_tokens
from openglm.checkpoint.folder import load, save
from openglm.models.chatglm2 import ChatGLM2
from openglm.models.decoder import Decoder
from openglm.models.registry import build

SIZES: dict[str, Any] = {
    "model_type": "chatglm",
    "num_layers": 3,
    "padded_vocab_size": 96,
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "kv_channels": 16,
    "num_attention_heads": 4,
    "multi_query_group_num": 2,
    "layernorm_epsilon": 1e-5,
    "seq_length": 128,
    "add_qkv_bias": True,
    "rope_ratio": 50,
}
RENAMED = {
    "transformer.embedding.word_embeddings": "model.embed_tokens",
    "transformer.encoder.layers": "model.layers",
    "transformer.encoder.final_layernorm": "model.norm",
    "transformer.output_layer": "lm_head",
    "self_attention.dense": "self_attn.o_proj",
    "dense_h_to_4h": "gate_up_proj",
    "dense_4h_to_h": "down_proj",
}


def chatglm(**changes: Any) -> Decoder:
    torch.manual_seed(4)
    model = build(SIZES | changes)
    randomise(model)
    return model.eval()


def as_glm4(model: Decoder) -> Decoder:
    """GLM-4 with the weights of ``model``, renamed; queries, keys and values cut apart."""
    c = model.config
    twin = build(
        {
            "model_type": "glm",
            "vocab_size": c.padded_vocab_size,
            "hidden_size": c.hidden_size,
            "intermediate_size": c.ffn_hidden_size,
            "num_hidden_layers": c.num_layers,
            "num_attention_heads": c.num_attention_heads,
            "num_key_value_heads": c.multi_query_group_num,
            "head_dim": c.kv_channels,
            "rms_norm_eps": c.layernorm_epsilon,
            "attention_bias": c.add_qkv_bias,
            "rope_theta": 10_000.0 * c.rope_ratio,
        }
    )
    state: dict[str, Tensor] = {}
    for published, tensor in model.state_dict().items():
        name = published
        for theirs, ours in RENAMED.items():
            name = name.replace(theirs, ours)
        if "query_key_value" in name:
            widths = [heads * c.kv_channels for heads in (c.num_attention_heads, *[c.multi_query_group_num] * 2)]
            for part, piece in zip("qkv", tensor.split(widths), strict=True):
                state[name.replace("self_attention.query_key_value", f"self_attn.{part}_proj")] = piece
        elif "inv_freq" not in name:
            state[name] = tensor
    twin.load_state_dict(state)
    return twin.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_chatglm_is_glm_4_under_other_names(bias: bool) -> None:
    model = chatglm(add_qkv_bias=bias)
    tokens = some_tokens()
    with torch.no_grad():
        assert far(model(tokens), as_glm4(model)(tokens)) < 1e-5
        assert far(decoded(model, tokens, cuts=[1, 2, 7]), model(tokens)) < 1e-5


def test_a_checkpoint_comes_back_byte_for_byte_with_the_frequencies_that_nobody_reads(tmp_path: Path) -> None:
    model = chatglm()
    model.state_dict()["transformer.rotary_pos_emb.inv_freq"].fill_(7.0)
    save(model, tmp_path / "first", dtype=torch.float16)
    loaded = load(tmp_path / "first")
    assert isinstance(loaded, ChatGLM2)
    assert loaded.state_dict()["transformer.rotary_pos_emb.inv_freq"].tolist() == [7.0] * 4
    save(loaded, tmp_path / "second")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_first_layout_of_glm_4_9b_is_read() -> None:
    model = build(SIZES | {"rope_ratio": 500, "num_hidden_layers": 3, "vocab_size": 96, "bias_dropout_fusion": True})
    assert model.rotation.theta == 5_000_000.0
    assert model.rotation.width == 8
