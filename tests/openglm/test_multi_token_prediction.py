"""The layers that predict further tokens: computed as transformers does, and never lost between disk and disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from openglm.errors import Refused
from openglm.models.glm4_moe import Glm4Moe
from openglm.models.registry import build

pytest.importorskip("transformers", reason="make setup-oracle")

import transformers
from safetensors.torch import load_file
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel

from glm_models import LITE, MOE, far, randomise, some_tokens
from openglm.checkpoint.folder import load, save

MODELS = {"glm4_moe": MOE, "glm4_moe_lite": LITE | {"first_k_dense_replace": 1}}


def predicting(kind: str = "glm4_moe", *, own: bool = False, layers: int = 1) -> Glm4Moe:
    """A random model with prediction layers; with ``own``, their embeddings and heads differ from the trunk's."""
    torch.manual_seed(3)
    fields = {"pad_token_id": 0} | MODELS[kind] | {"model_type": kind, "num_nextn_predict_layers": layers}
    model = build(fields, own_mtp_embedding=own)
    assert isinstance(model, Glm4Moe)
    randomise(model)
    return model.eval()


@pytest.mark.parametrize("kind", MODELS)
def test_the_further_token_is_predicted_as_transformers_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = predicting(kind)
    save(ours, tmp_path / "ours")
    name = {"glm4_moe": "Glm4MoeForCausalLM", "glm4_moe_lite": "Glm4MoeLiteForCausalLM"}[kind]
    # transformers knows the prediction layer by the depths of the published models alone; a toy has another.
    monkeypatch.setattr(getattr(transformers, name), "_keys_to_ignore_on_load_unexpected", [r"model\.layers\.3.*"])
    trunk = getattr(transformers, name).from_pretrained(tmp_path / "ours").eval()
    if kind == "glm4_moe_lite":  # the configuration class has no fields for it, though the checkpoints have the layer
        trunk.config.num_mtp_layers, trunk.config.mtp_mlp_layer_types = 1, ["sparse"]
    theirs = MtpModel.from_pretrained(trunk).eval()

    tokens = some_tokens()
    with torch.no_grad():
        hidden = trunk.model(tokens).last_hidden_state
        assert far(ours.hidden(tokens), hidden) < 1e-5
        positions = torch.arange(1, tokens.shape[1])[None]
        cache = MtpCache(config=trunk.config.get_mtp_config())
        expected = theirs.forward_layer(0, hidden[:, :-1], positions, cache, input_ids=tokens[:, 1:])
        got = ours.mtp_hidden(ours.hidden(tokens)[:, :-1], tokens[:, 1:])
        assert far(got, expected) < 1e-5
        assert far(ours.mtp_logits(got), trunk.lm_head(expected)) < 1e-5


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("own", [False, True], ids=["4.6, shared embedding", "4.5, own embedding"])
def test_prediction_layers_survive_load_and_save_byte_for_byte(kind: str, own: bool, tmp_path: Path) -> None:
    first = predicting(kind, own=own)
    save(first, tmp_path / "first", dtype=torch.bfloat16)
    save(load(tmp_path / "first"), tmp_path / "second")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    names = {
        name for name in load_file(tmp_path / "second" / "model.safetensors") if name.startswith("model.layers.3.")
    }
    assert {"model.layers.3.eh_proj.weight", "model.layers.3.mlp.experts.7.up_proj.weight"} <= names
    own_names = {"model.layers.3.embed_tokens.weight", "model.layers.3.shared_head.head.weight"}
    assert names & own_names == (own_names if own else set())


def test_a_head_of_its_own_is_used(tmp_path: Path) -> None:
    model = predicting(own=True)
    save(model, tmp_path / "own")
    loaded = load(tmp_path / "own")
    assert isinstance(loaded, Glm4Moe)
    tokens = some_tokens()
    with torch.no_grad():
        ahead = loaded.mtp_hidden(loaded.hidden(tokens)[:, :-1], tokens[:, 1:])
        assert far(loaded.mtp_logits(ahead), loaded.logits(ahead)) > 0.1
        assert far(loaded.mtp_logits(ahead), model.mtp_logits(ahead)) == 0.0
        model.model.layers[3].embed_tokens.weight.neg_()
        assert far(model.mtp_hidden(model.hidden(tokens)[:, :-1], tokens[:, 1:]), ahead) > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_drafting_with_a_cache_predicts_as_computing_all_at_once(kind: str) -> None:
    model = predicting(kind, layers=2)
    tokens = some_tokens(length=8)
    with torch.no_grad():
        whole = model.hidden(tokens)
        first = model.mtp_hidden(whole[:, :-1], tokens[:, 1:])
        second = model.mtp_hidden(first[:, :-1], tokens[:, 2:], depth=1)
        cache = model.cache(batch=2, capacity=8)
        for start, end in ((0, 3), (3, 4), (4, 6)):
            hidden = model.hidden(tokens[:, start:end], cache=cache)
            draft = model.mtp_hidden(hidden, tokens[:, start + 1 : end + 1], cache=cache)
            assert far(draft, first[:, start:end]) < 1e-5
            further = model.mtp_hidden(draft, tokens[:, start + 2 : end + 2], cache=cache, depth=1)
            assert far(further, second[:, start:end]) < 1e-5


def test_a_checkpoint_that_lost_its_prediction_layer_is_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    trunk = predicting(layers=0)
    save(trunk, tmp_path / "lost")
    config = json.loads((tmp_path / "lost" / "config.json").read_text())
    (tmp_path / "lost" / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}))
    with pytest.raises(Refused, match=r"no tensor model\.layers\.3\.\*.*without_mtp=True"):
        load(tmp_path / "lost")
    without = load(tmp_path / "lost", without_mtp=True)
    assert without.config.num_nextn_predict_layers == 0
    with pytest.raises(Refused, match="prediction layer 0 is asked of a model with 0"):
        without.mtp_hidden(torch.zeros(1, 1, 32), torch.ones(1, 1, dtype=torch.long))


def test_prediction_layers_can_be_left_out_of_a_checkpoint_that_has_them(tmp_path: Path) -> None:
    model = predicting(own=True)
    save(model, tmp_path / "whole")
    without = load(tmp_path / "whole", without_mtp=True)
    tokens = some_tokens()
    assert len(without.state_dict()) < len(model.state_dict())
    with torch.no_grad():
        assert far(without(tokens), model(tokens)) == 0.0
