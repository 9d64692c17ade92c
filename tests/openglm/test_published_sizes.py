"""The published models at their real sizes, on the meta device: names, shapes and counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from openglm.checkpoint.folder import places
from openglm.models.counting import published_sizes, size_of
from openglm.models.decoder import Decoder
from openglm.models.registry import build

BILLION = 10**9


def real(name: str) -> Decoder:
    """The published model ``name`` without memory."""
    row = published_sizes()[name]
    variant = {"own_mtp_embedding": row["own_mtp_embedding"]} if "own_mtp_embedding" in row else {}
    with torch.device("meta"):
        return build(row["config"], **variant)


def on_disk(model: Decoder) -> dict[str, list[int]]:
    """Published names and shapes."""
    state = model.state_dict()
    return {name: list(place.of(state[place.name]).shape) for name, place in places(model)}


@pytest.mark.parametrize("name", published_sizes())
def test_a_published_model_has_as_many_parameters_as_was_published(name: str) -> None:
    row, model = published_sizes()[name], real(name)
    size = size_of(model)
    numbers = sum(tensor.numel() for tensor in model.state_dict().values())
    counted = {
        "billions": size.total / BILLION,
        "hundreds_of_billions": size.total / BILLION / 100,
        "billions_in_report": size.reported / BILLION,
        "billions_trunk": (size.total - size.prediction) / BILLION,
        "billions_active": (size.active - size.trunk_embedding) / BILLION,
        "bytes_fp16": 2 * numbers,
        "numbers": numbers,
        "tensors": len(on_disk(model)),
    }
    assert row["source"]
    for figure, said in row["figures"].items():
        digits = len(str(said).partition(".")[2])
        assert round(counted[figure], digits) == said, (figure, counted[figure])


@pytest.mark.parametrize(
    "name", [name for name in published_sizes() if name.startswith(("chatglm3", "glm-4-", "glm-4_"))]
)
def test_the_page_says_what_is_counted(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "openglm.md").read_text()
    assert f"| {size_of(real(name)).total:,} |" in page


def test_tensors_of_glm_4_7_flash_are_those_of_its_files() -> None:
    # A listing of the 48 published files, by pattern: layers, experts, and the shape.
    listed = """
        lm_head.weight 154880x2048
        model.embed_tokens.weight 154880x2048
        model.norm.weight 2048
        model.layers.0-47.input_layernorm.weight 2048
        model.layers.0-47.post_attention_layernorm.weight 2048
        model.layers.0-47.self_attn.kv_a_layernorm.weight 512
        model.layers.0-47.self_attn.kv_a_proj_with_mqa.weight 576x2048
        model.layers.0-47.self_attn.kv_b_proj.weight 8960x512
        model.layers.0-47.self_attn.o_proj.weight 2048x5120
        model.layers.0-47.self_attn.q_a_layernorm.weight 768
        model.layers.0-47.self_attn.q_a_proj.weight 768x2048
        model.layers.0-47.self_attn.q_b_proj.weight 5120x768
        model.layers.0.mlp.down_proj.weight 2048x10240
        model.layers.0.mlp.gate_proj.weight 10240x2048
        model.layers.0.mlp.up_proj.weight 10240x2048
        model.layers.1-47.mlp.experts.0-63.down_proj.weight 2048x1536
        model.layers.1-47.mlp.experts.0-63.gate_proj.weight 1536x2048
        model.layers.1-47.mlp.experts.0-63.up_proj.weight 1536x2048
        model.layers.1-47.mlp.gate.e_score_correction_bias 64
        model.layers.1-47.mlp.gate.weight 64x2048
        model.layers.1-47.mlp.shared_experts.down_proj.weight 2048x1536
        model.layers.1-47.mlp.shared_experts.gate_proj.weight 1536x2048
        model.layers.1-47.mlp.shared_experts.up_proj.weight 1536x2048
        model.layers.47.eh_proj.weight 2048x4096
        model.layers.47.embed_tokens.weight 154880x2048
        model.layers.47.enorm.weight 2048
        model.layers.47.hnorm.weight 2048
        model.layers.47.shared_head.head.weight 154880x2048
        model.layers.47.shared_head.norm.weight 2048
    """
    expected: dict[str, list[int]] = {}
    for pattern, shape in (line.split() for line in listed.split("\n") if line.strip()):
        names = [pattern]
        while re.search(r"\d+-\d+", names[0]):
            names = [
                re.sub(r"(\d+)-(\d+)", str(number), name, count=1)
                for name in names
                for first, last in re.findall(r"(\d+)-(\d+)", name)[:1]
                for number in range(int(first), int(last) + 1)
            ]
        expected |= {name: [int(edge) for edge in shape.split("x")] for name in names}
    assert on_disk(real("glm-4_7-flash")) == expected


def test_tensors_of_chatglm3_are_those_of_its_remote_code() -> None:
    block = {
        "input_layernorm.weight": [4096],
        "self_attention.query_key_value.weight": [4608, 4096],
        "self_attention.query_key_value.bias": [4608],
        "self_attention.dense.weight": [4096, 4096],
        "post_attention_layernorm.weight": [4096],
        "mlp.dense_h_to_4h.weight": [27392, 4096],
        "mlp.dense_4h_to_h.weight": [4096, 13696],
    }
    expected = {f"transformer.encoder.layers.{n}.{name}": shape for n in range(28) for name, shape in block.items()}
    expected |= {
        "transformer.embedding.word_embeddings.weight": [65024, 4096],
        "transformer.rotary_pos_emb.inv_freq": [32],
        "transformer.encoder.final_layernorm.weight": [4096],
        "transformer.output_layer.weight": [65024, 4096],
    }
    assert on_disk(real("chatglm3-6b")) == expected


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("glm-4-9b-chat", "Glm"),
        ("glm-4-9b-0414", "Glm4"),
        ("glm-4-32b-0414", "Glm4"),
        ("glm-4_5", "Glm4Moe"),
        ("glm-4_5-air", "Glm4Moe"),
        ("glm-4_7-flash", "Glm4MoeLite"),
    ],
)
def test_a_trunk_in_memory_has_the_names_and_shapes_of_transformers(name: str, theirs: str) -> None:
    transformers = pytest.importorskip("transformers", reason="make setup-oracle")
    fields = published_sizes()[name]["config"]
    with torch.device("meta"):
        model = getattr(transformers, f"{theirs}ForCausalLM")(getattr(transformers, f"{theirs}Config")(**fields))
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    ours = {key: tensor.shape for key, tensor in real(name).state_dict().items()}
    prediction = f"model.layers.{fields['num_hidden_layers']}."
    assert {key: shape for key, shape in ours.items() if not key.startswith(prediction)} == expected
