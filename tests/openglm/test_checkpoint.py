"""Checkpoints: the published layout on disk, checked to the last tensor, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from glm_models import DENSE, LITE, MOE, far, randomise, some_tokens
from openglm.checkpoint import safetensors_folder
from openglm.checkpoint.folder import load, save
from openglm.errors import Refused
from openglm.models.decoder import Decoder
from openglm.models.registry import build

MODELS: dict[str, dict[str, Any]] = {
    "glm4": DENSE | {"model_type": "glm4", "attention_bias": True},
    "glm4_moe": MOE | {"model_type": "glm4_moe"},
    "glm4_moe_lite": LITE | {"model_type": "glm4_moe_lite"},
}


def random_model(kind: str, **changes: Any) -> Decoder:
    torch.manual_seed(5)
    model = build(MODELS[kind] | changes)
    randomise(model)
    return model.eval()


def rewritten(folder: Path, change: Any) -> None:
    """The only shard of ``folder`` after ``change(tensors)``."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def contents(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_comes_back_the_same_from_one_file_and_from_many(kind: str, tmp_path: Path) -> None:
    model, tokens = random_model(kind), some_tokens()
    save(model, tmp_path / "one")
    save(model, tmp_path / "many", shard_bytes_max=20_000)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    files = sorted(file.name for file in (tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert sorted(set(index["weight_map"].values())) == files
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in contents(tmp_path / "many").values())
    for name, tensor in contents(tmp_path / "one").items():
        assert torch.equal(tensor, contents(tmp_path / "many")[name])
    for folder in ("one", "many"):
        assert far(load(tmp_path / folder)(tokens), model(tokens)) == 0.0


def test_no_shard_is_larger_than_was_asked_unless_one_tensor_is(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "many", shard_bytes_max=9_000)
    for file in (tmp_path / "many").glob("*.safetensors"):
        tensors = load_file(file)
        assert sum(t.nbytes for t in tensors.values()) <= 9_000 or len(tensors) == 1


def test_experts_lie_apart_on_disk_and_stacked_in_memory(tmp_path: Path) -> None:
    model = random_model("glm4_moe")
    save(model, tmp_path / "saved")
    on_disk, experts = contents(tmp_path / "saved"), model.model.layers[2].mlp.experts
    stem = "model.layers.2.mlp.experts.3"
    assert torch.equal(on_disk[f"{stem}.gate_proj.weight"], experts.gate_up_proj[3, :24])
    assert torch.equal(on_disk[f"{stem}.up_proj.weight"], experts.gate_up_proj[3, 24:])
    assert torch.equal(on_disk[f"{stem}.down_proj.weight"], experts.down_proj[3])
    assert not any("gate_up_proj" in name for name in on_disk)


def test_bf16_halves_all_but_the_routers_bias(tmp_path: Path) -> None:
    model = random_model("glm4_moe")
    save(model, tmp_path / "half", dtype=torch.bfloat16)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    kinds = {name: tensor.dtype for name, tensor in contents(tmp_path / "half").items()}
    fp32 = {name for name, dtype in kinds.items() if dtype == torch.float32}
    assert fp32 == {f"model.layers.{layer}.mlp.gate.e_score_correction_bias" for layer in (1, 2)}
    assert {dtype for name, dtype in kinds.items() if name not in fp32} == {torch.bfloat16}
    as_is, wide = load(tmp_path / "half"), load(tmp_path / "half", dtype=torch.float32)
    tokens = some_tokens()
    assert as_is(tokens).dtype == torch.bfloat16
    assert wide(tokens).dtype == torch.float32
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert torch.equal(as_is.state_dict()[bias], model.state_dict()[bias])


def test_a_tied_head_is_written_once_and_is_one_parameter_again(tmp_path: Path) -> None:
    model = random_model("glm4", tie_word_embeddings=True)
    save(model, tmp_path / "tied")
    assert "lm_head.weight" not in contents(tmp_path / "tied")
    loaded = load(tmp_path / "tied")
    assert loaded.head.weight is loaded.embedding.weight
    tokens = some_tokens()
    assert far(loaded(tokens), model(tokens)) == 0.0
    rewritten(tmp_path / "tied", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert far(load(tmp_path / "tied")(tokens), model(tokens)) == 0.0


def test_a_loaded_model_can_be_trained(tmp_path: Path) -> None:
    save(random_model("glm4_moe"), tmp_path / "saved")
    model = load(tmp_path / "saved").train()
    model(some_tokens()).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert float(model.model.layers[1].mlp.gate.load.sum()) == 2 * 13 * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("model.layers.1.mlp.experts.5.up_proj.weight"), r"miss model\.layers\.1\.mlp\.experts\.5\.up"),
        (lambda t: t.update({"model.layers.0.adapter": torch.ones(1)}), r"have beside .* model\.layers\.0\.adapter"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(31)}),
            r"model\.norm\.weight is \[31\], and config\.json makes it \[32\]",
        ),
        (
            lambda t: t.update({"model.layers.2.mlp.experts.0.down_proj.weight": torch.ones(24, 32)}),
            r"experts\.0\.down_proj\.weight is \[24, 32\], and config\.json makes it \[32, 24\]",
        ),
    ],
    ids=["missing", "unknown", "another shape", "another shape in a stack"],
)
def test_a_tensor_that_is_missing_unknown_or_of_another_shape_is_named(change: Any, said: str, tmp_path: Path) -> None:
    save(random_model("glm4_moe"), tmp_path / "bad")
    rewritten(tmp_path / "bad", change)
    with pytest.raises(Refused, match=said):
        load(tmp_path / "bad")


def test_a_shard_that_is_cut_off_or_absent_is_named(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "many", shard_bytes_max=20_000)
    first = sorted((tmp_path / "many").glob("*.safetensors"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole[:-100])
    with pytest.raises(Refused, match=f"{first.name} cannot be read"):
        load(tmp_path / "many")
    first.unlink()
    with pytest.raises(Refused, match=f"{first.name} cannot be read"):
        load(tmp_path / "many")


def test_an_index_that_promises_more_than_the_files_have_is_refused(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "many", shard_bytes_max=20_000)
    file = tmp_path / "many" / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["model.extra.weight"] = "model-00001-of-" + next(iter(index["weight_map"].values()))[-17:]
    file.write_text(json.dumps(index))
    with pytest.raises(Refused, match=r"names tensors that its files do not have: model\.extra\.weight"):
        load(tmp_path / "many")


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"config\.json cannot be read"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(Refused, match="is not a JSON object"):
        load(tmp_path)


def test_pickles_are_not_read_and_it_is_said_why(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").rename(tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(Refused, match=r"as pickles \(\*\.bin\), which run code"):
        load(tmp_path / "old")


def test_what_is_done_to_a_loaded_model_does_not_reach_its_file(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "kept")
    before = (tmp_path / "kept" / "model.safetensors").read_bytes()
    model = load(tmp_path / "kept")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (tmp_path / "kept" / "model.safetensors").read_bytes() == before


def test_a_checkpoint_is_never_written_over(tmp_path: Path) -> None:
    save(random_model("glm4"), tmp_path / "kept")
    before = (tmp_path / "kept" / "model.safetensors").read_bytes()
    with pytest.raises(Refused, match="exists"):
        save(random_model("glm4_moe"), tmp_path / "kept")
    assert (tmp_path / "kept" / "model.safetensors").read_bytes() == before


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def full_disk(tensors: Any, file: Path, **rest: Any) -> None:
        if written:
            raise OSError("no space left on device")
        written.append(file.name)
        save_file(tensors, file, **rest)

    monkeypatch.setattr(safetensors_folder, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save(random_model("glm4"), tmp_path / "half", shard_bytes_max=20_000)
    assert written
    assert list(tmp_path.iterdir()) == []


def test_a_new_model_is_the_same_on_every_run_and_has_the_spread_that_its_config_says() -> None:
    def fresh() -> Decoder:
        model = build(MODELS["glm4_moe"] | {"initializer_range": 0.05})
        model.initialise(torch.Generator().manual_seed(6))
        return model

    first, second = fresh(), fresh()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
        if name.endswith("bias"):
            assert float(tensor.abs().max()) == 0.0, name
        elif "norm" in name:
            assert float((tensor - 1).abs().max()) == 0.0, name
        elif tensor.numel() > 1000:
            assert abs(float(tensor.std()) - 0.05) < 0.01, name
