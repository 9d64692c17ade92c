"""What is written for llama.cpp says there what the model says here."""

from __future__ import annotations

import copy
import json
import statistics
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xllamacpp

import tiny_glm as tiny
from openglm.chat.render import FAMILIES, Family, render, template
from openglm.data.batches import stacked
from openglm.data.causal import shifted
from openglm.data.tokenizer import Tokenizer, train_bpe, train_characters
from openglm.errors import Refused
from openglm.export import adapter
from openglm.export.llama import Card, write
from openglm.export.vocabulary import ROLES
from openglm.models.glm import Glm, GlmConfig
from openglm.models.glm4 import Glm4
from openglm.models.glm4_0414 import Glm4Sandwich
from openglm.models.glm4_moe import Glm4Moe
from openglm.models.glm4_moe_lite import Glm4MoeLite
from openglm.train.loss import loss_of
from openglm.tune import lora

TEXTS = [
    "def f(x):\n\treturn x + 12345\n",
    "床前明月光，疑是地上霜。",
    "The quick brown fox jumps over 3 lazy dogs. ",
] * 40
SIZE = 384  # a few more than the tokenizer has, as published models do


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, 360)


@contextmanager
def served(path: Path, adapter: Path | None = None, *, drafts: bool = False) -> Iterator[str]:
    """llama.cpp's own server on a file; its address. ``drafts``: one token further, by the file's own layer."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    parameters.fit_params, parameters.verbosity = False, 1
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it computes in f16
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    if adapter is not None:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    if drafts:
        parameters.load_mtp = True
        parameters.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
        parameters.speculative.draft.n_max = 1
    server = xllamacpp.Server(parameters)
    yield server.listening_address
    del server


def asked(address: str, path: str, **body: Any) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}{path}", data, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as found:  # noqa: S310 - an address of our own
        return json.loads(found.read())


def following(address: str, tokens: list[int], rivals: int = 20, **more: Any) -> Any:
    """The token that comes next and its rivals, each with its log probability; None where it has no text."""
    found = asked(address, "/completion", prompt=tokens, n_predict=1, n_probs=rivals, temperature=0, **more)
    return found.get("completion_probabilities", [None])[0]


def sized(model: Any, kind: type, **changed: Any) -> Any:
    """The tiny model with our vocabulary, and numbers that are not all alike."""
    made = kind(kind.CONFIG.from_json({**model.config.to_json(), "vocab_size": SIZE, **changed}))
    made.initialise(torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            scale = 0.3 if weight.ndim > 1 else 0.1
            weight.add_(scale * torch.randn(weight.shape, generator=generator))
            if name.endswith("norm.weight"):
                weight.clamp_(min=0.2)
        for name, buffer in made.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.add_(0.2 * torch.randn(buffer.shape, generator=generator))
    return made.eval()


def models() -> Iterator[tuple[str, Any]]:
    yield "glm", sized(tiny.dense(), Glm4, head_dim=16, hidden_size=64)
    yield "glm tied", sized(tiny.dense(), Glm4, head_dim=16, hidden_size=64, tie_word_embeddings=True)
    sandwich = {**tiny.dense().config.to_json(), "vocab_size": SIZE, "head_dim": 32, "hidden_size": 64}
    yield "glm4", sized(Glm4Sandwich(Glm4Sandwich.CONFIG.from_json(sandwich | {"model_type": "glm4"})), Glm4Sandwich)
    yield "glm4_moe", sized(tiny.sparse(), Glm4Moe, head_dim=32, hidden_size=64, moe_intermediate_size=32)
    heads = {"qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 64}
    lite = {"hidden_size": 64, "moe_intermediate_size": 32, "q_lora_rank": 32, "kv_lora_rank": 64, **heads}
    yield "glm4_moe_lite", sized(tiny.latent(), Glm4MoeLite, **lite)
    odd = {"q_lora_rank": None, "n_group": 2, "rms_norm_eps": 1e-6}
    yield "glm4_moe_lite, whole queries, groups", sized(tiny.latent(), Glm4MoeLite, **lite | odd)


MODELS = dict(models())


@pytest.mark.parametrize("name", list(MODELS))
def test_llama_cpp_says_what_the_model_says(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    model = MODELS[name]
    path = tmp_path / "model.gguf"
    write(model, tokenizer, path, "F32", Card(name="tiny"))
    tokens = tokenizer.encode("".join(TEXTS[:3]))[:40]
    with torch.no_grad():
        logp = model(torch.tensor([tokens]))[0].log_softmax(-1)
    ends = {tokenizer.library.token_to_id(ROLES[role]) for role in ("eos", "eot", "eom")}
    with served(path) as address:
        compared = 0
        for at in range(3, len(tokens)):
            ours = logp[at]
            if (first := following(address, tokens[: at + 1])) is None:
                first_is = int(ours.argmax())
                assert first_is in ends or "\ufffd" in tokenizer.decode([first_is])  # half a character is not told
                continue
            compared += 1
            assert first["id"] == int(ours.argmax())
            for other in first["top_logprobs"]:
                assert other["logprob"] == pytest.approx(float(ours[other["id"]]), abs=1e-2)
    assert compared > 15


@pytest.mark.parametrize("name", ["glm4_moe", "glm4_moe_lite"])
def test_llama_cpp_takes_the_drafts_of_a_layer_that_knows_the_text_by_heart(
    tmp_path: Path, tokenizer: Tokenizer, name: str
) -> None:
    model = copy.deepcopy(MODELS[name]).train()
    model.initialise(torch.Generator().manual_seed(6))
    tokens = tokenizer.encode("".join(TEXTS[:3]))[:40]
    batch = stacked([shifted(np.array(tokens))], pad=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss_of(model, batch, 1.0).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    write(model.eval(), tokenizer, tmp_path / "model.gguf", "F32", Card(name="tiny"))
    with torch.no_grad():
        hidden, ahead = model.hidden(batch.tokens), batch.targets
        assert torch.equal(model.logits(hidden)[0, 4:].argmax(-1), ahead[0, 4:])
        assert torch.equal(model.mtp_logits(model.mtp_hidden(hidden, ahead))[0, 4:-1].argmax(-1), ahead[0, 5:])
    with served(tmp_path / "model.gguf", drafts=True) as address:
        found = asked(address, "/completion", prompt=tokens[:5], n_predict=30, temperature=0, return_tokens=True)
    assert found["tokens"] == tokens[5:35]
    timings = found["timings"]
    assert timings["draft_n_accepted"] == timings["draft_n"] > 10


def test_a_text_has_the_same_tokens_on_both_sides(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "model.gguf"
    write(MODELS["glm"], tokenizer, path, "F16", Card(name="tiny"))
    with served(path) as address:
        for text in (*TEXTS[:3], "未知的字 \U0001f642 it's 1234567\t\r\n  x", "a  b\n\n\nc"):
            assert asked(address, "/tokenize", content=text)["tokens"] == tokenizer.encode(text)
        marked = "[gMASK]<sop><|user|>\nhi<|assistant|>\n<think></think>"
        found = asked(address, "/tokenize", content=marked, parse_special=True)["tokens"]
        assert found == tokenizer.encode(marked, marks=True)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_chat_is_written_alike_on_both_sides(tmp_path: Path, tokenizer: Tokenizer, family: Family) -> None:
    path = tmp_path / "model.gguf"
    write(MODELS["glm"], tokenizer, path, "F16", Card(name="tiny", chat_template=template(family)))
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": {"zone": "北京", "n": [1, None]}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "c", "content": "12:00"},
    ]
    parameters = {"type": "object", "properties": {"zone": {"type": "string", "description": "时区"}}}
    tools = [{"type": "function", "function": {"name": "now", "description": "现在", "parameters": parameters}}]
    with served(path) as address:
        for thinking in (True, False):
            told = {"chat_template_kwargs": {"enable_thinking": thinking}}
            found = asked(address, "/apply-template", messages=messages, tools=tools, **told)["prompt"]
            assert found == render(messages, family, tools=tools, prompt=True, thinking=thinking)


@pytest.mark.parametrize(
    ("name", "precision"),
    [*(("glm4", precision) for precision in ("F16", "BF16", "Q8_0", "Q4_0")), ("glm4_moe_lite", "Q8_0")],
)
def test_fewer_bits_cost_a_little_and_say_the_same(
    tmp_path: Path, tokenizer: Tokenizer, name: str, precision: Any
) -> None:
    model = MODELS[name]
    whole, small = tmp_path / "whole.gguf", tmp_path / "small.gguf"
    write(model, tokenizer, whole, "F32", Card(name="tiny"))
    write(model, tokenizer, small, precision, Card(name="tiny"))
    assert small.stat().st_size < 0.7 * whole.stat().st_size
    tokens = tokenizer.encode(TEXTS[0] + TEXTS[1])
    with torch.no_grad():
        logp = model(torch.tensor([tokens]))[0].log_softmax(-1)
    with served(small) as address:
        found = [(at, following(address, tokens[: at + 1], 5)) for at in range(3, len(tokens), 3)]
    off = [
        abs(one["logprob"] - float(logp[at, one["id"]]))
        for at, first in found
        if first
        for one in first["top_logprobs"]
    ]
    assert len(off) > 10
    assert statistics.median(off) < {"F16": 0.01, "BF16": 0.05, "Q8_0": 0.1, "Q4_0": 1.0}[precision]


def test_a_vocabulary_of_characters_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    characters = train_characters(TEXTS, 330)
    with pytest.raises(Refused, match="not byte-level BPE"):
        write(MODELS["glm"], characters, tmp_path / "model.gguf", "F16", Card(name="tiny"))
    assert list(tmp_path.glob("*.gguf")) == []


@pytest.mark.parametrize("name", ["glm", "glm4", "glm4_moe", "glm4_moe_lite"])
def test_an_adapter_says_over_its_base_what_it_says_here_and_a_request_may_leave_it_out(
    tmp_path: Path, tokenizer: Tokenizer, name: str
) -> None:
    model = copy.deepcopy(MODELS[name])
    base = tmp_path / "base.gguf"
    write(model, tokenizer, base, "F32", Card(name="tiny"))
    torch.manual_seed(5)
    alpha = 12.0
    lora.attach(model, lora.Lora(4, alpha))
    with torch.no_grad():
        for _, part in lora.adapters(model):
            part.lora_B.normal_(0, 0.1)
    pairs = [(name, part.lora_A, part.lora_B) for name, part in lora.adapters(model)]
    adapter.write(model.config, pairs, alpha, tmp_path / "adapter.gguf")
    tokens = tokenizer.encode(TEXTS[0] + TEXTS[2])[:24]
    with torch.no_grad():
        tuned = model(torch.tensor([tokens]))[0].log_softmax(-1)
        with lora.without(model):
            plain = model(torch.tensor([tokens]))[0].log_softmax(-1)
    assert float((tuned - plain).abs().max()) > 0.5
    compared = 0
    with served(base, tmp_path / "adapter.gguf") as address:
        for expected, scale in ((tuned, 1.0), (plain, 0.0)):
            for at in range(3, len(tokens), 4):
                first = following(address, tokens[: at + 1], 5, lora=[{"id": 0, "scale": scale}])
                for other in first["top_logprobs"] if first else ():
                    compared += 1
                    assert other["logprob"] == pytest.approx(float(expected[at, other["id"]]), abs=1e-2)
    assert compared > 20


CLASSIC = GlmConfig(num_layers=1, hidden_size=32, num_attention_heads=2, vocab_size=SIZE, max_sequence_length=16)


def test_an_adapter_of_a_model_that_llama_cpp_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="GLMModel cannot be written as GGUF"):
        adapter.write(CLASSIC, [], 1.0, tmp_path / "adapter.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rope_interleave": False}, "rope_interleave"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_layer_types": ["sparse", "dense"]}, "mlp_layer_types"),
        ({"num_hidden_layers": 27, "mlp_layer_types": None}, "num_hidden_layers is 27"),
    ],
)
def test_latent_attention_that_llama_cpp_does_not_compute_is_refused_by_the_field(
    tmp_path: Path, tokenizer: Tokenizer, changed: dict[str, Any], named: str
) -> None:
    model = sized(tiny.latent(), Glm4MoeLite, **changed)
    with pytest.raises(Refused, match=f"config.json: {named}"):
        write(model, tokenizer, tmp_path / "model.gguf", "F16", Card(name="tiny"))
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_where_llama_cpp_looks_at_none_is_refused(tmp_path: Path) -> None:
    model = copy.deepcopy(MODELS["glm4_moe_lite"])
    lora.attach(model, lora.Lora(4, 8.0, ("q_a_proj", "o_proj")))
    pairs = [(name, part.lora_A, part.lora_B) for name, part in lora.adapters(model)]
    with pytest.raises(Refused, match=r"model\.layers\.0\.self_attn\.q_a_proj"):
        adapter.write(model.config, pairs, 8.0, tmp_path / "adapter.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_classic_model_is_refused_by_its_architecture(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(Refused, match="GLMModel cannot be written as GGUF"):
        write(Glm(CLASSIC), tokenizer, tmp_path / "model.gguf", "F16", Card(name="tiny"))
    assert list(tmp_path.iterdir()) == []
