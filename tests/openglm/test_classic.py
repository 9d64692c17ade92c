"""The classic models against their definitions, written out once more here, plainly; and their published sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openglm.checkpoint.folder import load, save
from openglm.errors import Refused
from openglm.models.chatglm_6b import ChatGlm6B
from openglm.models.classic import Classic
from openglm.models.glm import Glm, GlmConfig
from openglm.models.glm_130b import Glm130B, Glm130BConfig, attend_within_fp16
from openglm.models.registry import model_class
from openglm.parts.attention import attend
from openglm.parts.masks import prefix_mask
from small_classics import CHATGLM_6B, GLM, GLM_130B, SMALL, built, each

# Part A of five tokens with blanks at 2 and 4, part B of two spans, the second told first: the paper's figure 2.
TOKENS = torch.tensor([[11, 12, 1, 14, 1, 4, 15, 16, 4, 13]])
POSITIONS = torch.tensor([[[0, 1, 2, 3, 4, 4, 4, 4, 2, 2], [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]]])
MASK = prefix_mask(torch.tensor([5]), 10)


# ---- the definitions, one token, head and pair at a time ----


def layer_norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
    return centred * scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x: Tensor, *, exact: bool) -> Tensor:
    if exact:
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))
    return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x)))


def turned(x: Tensor, position: int) -> Tensor:
    """A vector of pairs (i, i + half), each turned by position · 10000^(-i/half)."""
    half = len(x) // 2
    out = torch.empty_like(x)
    for i in range(half):
        angle = torch.tensor(position * 10_000.0 ** (-i / half))
        out[i] = x[i] * angle.cos() - x[half + i] * angle.sin()
        out[half + i] = x[half + i] * angle.cos() + x[i] * angle.sin()
    return out


def attention(
    x: Tensor, state: dict[str, Tensor], name: str, config: Any, seen: Tensor, positions: Tensor | None
) -> Tensor:
    heads, length = config.num_attention_heads, len(x)
    size = config.hidden_size // heads
    mixed = linear(x, state, f"{name}.query_key_value")
    out = torch.zeros_like(x)
    for head in range(heads):
        if isinstance(config, GlmConfig):
            q, k, v = (mixed[:, kind * config.hidden_size + head * size :][:, :size] for kind in range(3))
        else:
            q, k, v = (mixed[:, (3 * head + kind) * size :][:, :size] for kind in range(3))
        if isinstance(config, Glm130BConfig) and positions is not None:
            q, k = (torch.stack([turned(part[t], int(positions[0, t])) for t in range(length)]) for part in (q, k))
        elif positions is not None:
            q, k = (
                torch.stack(
                    [
                        torch.cat(
                            [
                                turned(part[t, : size // 2], int(positions[0, t])),
                                turned(part[t, size // 2 :], int(positions[1, t])),
                            ]
                        )
                        for t in range(length)
                    ]
                )
                for part in (q, k)
            )
        for t in range(length):
            visible = [s for s in range(length) if seen[t, s]]
            scores = torch.stack([q[t] @ k[s] / size**0.5 for s in visible])
            out[t, head * size : (head + 1) * size] = scores.softmax(0) @ v[visible]
    return linear(out, state, f"{name}.dense")


def reference(model: Classic, tokens: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
    """Logits [T, V] of one sequence, from the state under its published names alone."""
    config, state = model.config, model.state_dict()
    if isinstance(config, GlmConfig):
        words = state["word_embeddings.weight"]
        x = words[tokens] + state["transformer.position_embeddings.weight"][positions[0]]
        if config.block_position_encoding:
            x = x + state["transformer.block_position_embeddings.weight"][positions[1]]
    else:
        words = state["transformer.word_embeddings.weight"]
        x = words[tokens]
    alpha = (2 * config.num_layers) ** 0.5
    for number in range(config.num_layers):
        at = f"transformer.layers.{number}"
        if isinstance(config, GlmConfig):
            x = x + attention(
                layer_norm(x, state, f"{at}.input_layernorm"), state, f"{at}.attention", config, seen, None
            )
            up = linear(layer_norm(x, state, f"{at}.post_attention_layernorm"), state, f"{at}.mlp.dense_h_to_4h")
            x = x + linear(gelu(up, exact=False), state, f"{at}.mlp.dense_4h_to_h")
            continue
        a = layer_norm(x, state, f"{at}.input_layernorm")
        h = a * alpha + attention(a, state, f"{at}.attention", config, seen, positions)
        b = layer_norm(h, state, f"{at}.post_attention_layernorm")
        up = linear(b, state, f"{at}.mlp.dense_h_to_4h")
        if isinstance(config, Glm130BConfig):
            middle = up[:, : config.inner_hidden_size] * gelu(up[:, config.inner_hidden_size :], exact=True)
        else:
            middle = gelu(up, exact=False)
        x = b * alpha + linear(middle, state, f"{at}.mlp.dense_4h_to_h")
    return layer_norm(x, state, "transformer.final_layernorm") @ words.T


@each
def test_a_model_computes_what_its_definition_says(config: Any) -> None:
    model = built(config)
    with torch.no_grad():
        found = model(TOKENS, POSITIONS, MASK)[0]
        expected = reference(model, TOKENS[0], POSITIONS[0], MASK[0, 0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@each
def test_part_a_does_not_see_part_b_and_sees_both_ways(config: Any) -> None:
    model = built(config)
    other = TOKENS.clone()
    other[0, 6] = 33  # in part B
    with torch.no_grad():
        before, after = model.hidden(TOKENS, POSITIONS, MASK), model.hidden(other, POSITIONS, MASK)
        torch.testing.assert_close(before[:, :6], after[:, :6], atol=1e-6, rtol=0)
        assert (before[:, 6:] - after[:, 6:]).abs().amax(-1).min() > 1e-3
        other = TOKENS.clone()
        other[0, 3] = 33  # in part A: everybody notices
        assert (before - model.hidden(other, POSITIONS, MASK)).abs().amax(-1).min() > 1e-3


@each
def test_reading_piece_by_piece_gives_what_reading_at_once_gives(config: Any) -> None:
    model = built(config)
    with torch.no_grad():
        whole = model.hidden(TOKENS, POSITIONS, MASK)
        cache = model.cache(1, 10)
        parts = [model.hidden(TOKENS[:, :5], POSITIONS[:, :, :5], MASK[:, :, :5, :5], cache)]
        for t in range(5, 10):
            one = slice(t, t + 1)
            parts += [model.hidden(TOKENS[:, one], POSITIONS[:, :, one], None, cache)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-5)


@each
def test_a_saved_model_is_read_back_and_a_tied_head_is_not_in_the_files(config: Any, tmp_path: Path) -> None:
    model = built(config)
    save(model, tmp_path / "saved")
    read = load(tmp_path / "saved")
    assert type(read) is type(model)
    assert read.config == config
    with torch.no_grad():
        torch.testing.assert_close(read(TOKENS, POSITIONS, MASK), model(TOKENS, POSITIONS, MASK), atol=0, rtol=0)
    assert read.head.weight is read.embedding.weight


@each
def test_positions_must_be_given_in_two_rows(config: Any) -> None:
    model = built(config)
    with pytest.raises(Refused, match=r"positions: .* wants \[B, 2, 10\], not none"):
        model.hidden(TOKENS)
    with pytest.raises(Refused, match=r"not \[1, 10\]"):
        model.hidden(TOKENS, POSITIONS[:, 0])


def test_names_are_those_of_the_official_checkpoints() -> None:
    layer = [
        f"{part}.{kind}"
        for part in (
            "input_layernorm",
            "attention.query_key_value",
            "attention.dense",
            "post_attention_layernorm",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        )
        for kind in ("weight", "bias")
    ]
    layers = {f"transformer.layers.{n}.{name}" for n in range(3) for name in layer}
    last = {"transformer.final_layernorm.weight", "transformer.final_layernorm.bias", "lm_head.weight"}
    learned = {"transformer.position_embeddings.weight", "transformer.block_position_embeddings.weight"}
    assert set(built(GLM).state_dict()) == {"word_embeddings.weight"} | learned | layers | last
    for config in (GLM_130B, CHATGLM_6B):
        assert set(built(config).state_dict()) == {"transformer.word_embeddings.weight"} | layers | last


def test_a_name_given_twice_means_the_architecture_whose_fields_are_there() -> None:
    assert model_class(GLM.to_json()) is Glm
    assert model_class(CHATGLM_6B.to_json()) is ChatGlm6B
    assert model_class(GLM_130B.to_json()) is Glm130B
    assert model_class({"model_type": "glm"}) is not Glm
    assert model_class({"model_type": "chatglm", "multi_query_group_num": 2}) is not ChatGlm6B


def test_scores_divided_by_their_layer_are_the_same_scores_and_stay_within_fp16() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 6, 8, generator=generator) for _ in range(3))
    mask = prefix_mask(torch.tensor([2, 4]), 6)
    torch.testing.assert_close(attend_within_fp16(q, k, v, mask, layer=7), attend(q, k, v, mask), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attend_within_fp16(q, k, v, None, layer=7), attend(q, k, v), atol=1e-6, rtol=1e-5)
    q, k, v = (100 * q).half(), (300 * k).half(), v.half()  # scores of 10^5: more than fp16 has
    assert (q @ k.mT / 8**0.5).isinf().any()
    assert attend_within_fp16(q, k, v, mask, layer=70).isfinite().all()


def test_scores_of_chatglm_6b_depend_on_distances_in_both_dimensions() -> None:
    model = built(CHATGLM_6B)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator) for _ in range(2))

    def score(query: tuple[int, int], key: tuple[int, int]) -> float:
        at = [model.placed(torch.tensor([[0]]), torch.tensor([[[p], [s]]]))[1] for p, s in (query, key)]
        return float(at[0].rotate(q).flatten() @ at[1].rotate(k).flatten())

    assert score((7, 3), (5, 1)) == pytest.approx(score((12, 9), (10, 7)), abs=1e-5)
    assert score((7, 3), (5, 1)) != pytest.approx(score((8, 3), (5, 1)), abs=1e-3)
    assert score((7, 3), (5, 1)) != pytest.approx(score((7, 4), (5, 1)), abs=1e-3)


def test_matrices_that_write_into_the_stream_begin_smaller() -> None:
    wide = {"num_layers": 8, "hidden_size": 256, "num_attention_heads": 4, "vocab_size": 50, "max_sequence_length": 8}
    glm = Glm(GlmConfig(**wide))
    glm.initialise(torch.Generator().manual_seed(0))
    state = glm.state_dict()
    assert float(state["transformer.layers.3.attention.query_key_value.weight"].std()) == pytest.approx(0.02, rel=0.02)
    for name in ("attention.dense", "mlp.dense_4h_to_h"):
        assert float(state[f"transformer.layers.3.{name}.weight"].std()) == pytest.approx(0.02 / 4, rel=0.02)
        assert not state[f"transformer.layers.3.{name}.bias"].any()
    assert float(state["transformer.final_layernorm.weight"].min()) == 1
    deep = Glm130B(Glm130BConfig(**wide, inner_hidden_size=256))
    deep.initialise(torch.Generator().manual_seed(0))
    mixed = deep.state_dict()["transformer.layers.0.attention.query_key_value.weight"].unflatten(0, (4, 3, 64))
    stds = [float(mixed[:, kind].std()) for kind in range(3)]
    assert stds == pytest.approx([0.02, 0.02, 0.02 / 4], rel=0.03)


def test_a_shrunk_embedding_gradient_is_smaller_and_changes_no_output() -> None:
    plain = built(GLM_130B)
    config = Glm130BConfig(**SMALL, inner_hidden_size=48, max_sequence_length=20, embedding_gradient=0.1)
    shrunk = Glm130B(config)
    shrunk.load_state_dict(plain.state_dict())
    found = []
    for model in (plain, shrunk):
        hidden = model.hidden(TOKENS, POSITIONS, MASK)
        hidden.pow(2).sum().backward()
        found.append((hidden.detach(), model.embedding.weight.grad))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    assert found[0][1] is not None
    torch.testing.assert_close(found[1][1], 0.1 * found[0][1], atol=1e-4, rtol=1e-3)
