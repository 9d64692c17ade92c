"""config.json: every field is obeyed, fixed or of no concern, and a fourth is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glm_models import DENSE, LITE, MOE
from openglm.errors import Refused
from openglm.models.counting import published_sizes
from openglm.models.glm4 import Glm4Config
from openglm.models.glm4_0414 import Glm4Config0414
from openglm.models.glm4_moe import Glm4MoeConfig
from openglm.models.glm4_moe_lite import Glm4MoeLiteConfig
from openglm.models.registry import build, model_class

#: Whole files as they were published, token ids and bookkeeping included.
CONFIG_FILES = json.loads((Path(__file__).parent / "config_files.json").read_text())
GLM4 = DENSE | {"attention_bias": True}


def test_a_field_that_the_model_would_have_to_obey_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="Glm4Config does not know logit_scale, sliding_window"):
        Glm4Config.from_json(GLM4 | {"sliding_window": 4096, "logit_scale": 2.0})
    with pytest.raises(Refused, match="does not know quantization_config"):
        Glm4MoeConfig.from_json(MOE | {"quantization_config": {"quant_method": "fp8"}})


def test_a_field_that_is_missing_is_named() -> None:
    fields = {name: value for name, value in GLM4.items() if name not in ("head_dim", "rms_norm_eps")}
    with pytest.raises(Refused, match="Glm4Config needs head_dim, rms_norm_eps"):
        Glm4Config.from_json(fields)


@pytest.mark.parametrize(
    ("config", "fields", "said"),
    [
        (Glm4Config, GLM4 | {"hidden_act": "gelu"}, "hidden_act is 'gelu', and Glm4Config is built for 'silu'"),
        (Glm4Config0414, GLM4 | {"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        (Glm4MoeConfig, MOE | {"scoring_func": "softmax"}, "scoring_func is 'softmax'"),
        (Glm4MoeLiteConfig, LITE | {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        (Glm4MoeLiteConfig, LITE | {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
    ],
)
def test_a_field_with_the_one_value_that_is_not_built_is_refused(config: Any, fields: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        config.from_json(fields)


@pytest.mark.parametrize(
    ("config", "fields", "said"),
    [
        (Glm4Config, GLM4 | {"hidden_size": "32"}, "hidden_size is '32', and int is wanted"),
        (Glm4Config, GLM4 | {"attention_bias": 1}, "attention_bias is 1, and bool is wanted"),
        (Glm4Config, GLM4 | {"num_hidden_layers": True}, "num_hidden_layers is True, and int is wanted"),
        (Glm4Config, GLM4 | {"rms_norm_eps": None}, "rms_norm_eps is None, and float is wanted"),
        (
            Glm4Config,
            GLM4 | {"num_key_value_heads": 3},
            "4 is no multiple of num_key_value_heads 3",
        ),
        (
            Glm4Config,
            GLM4 | {"num_key_value_heads": 0},
            "4 is no multiple of num_key_value_heads 0",
        ),
        (Glm4Config0414, GLM4 | {"head_dim": 6}, "partial_rotary_factor 0.5 of head_dim 6 is no number of pairs"),
        (Glm4MoeConfig, MOE | {"n_group": 3}, "n_routed_experts 8 make no n_group 3 groups"),
        (Glm4MoeConfig, MOE | {"n_group": 8, "topk_group": 4}, "n_routed_experts 8 make no n_group 8 groups"),
        (Glm4MoeConfig, MOE | {"n_group": 4, "num_experts_per_tok": 3}, "num_experts_per_tok 3 are chosen among 2"),
        (Glm4MoeConfig, MOE | {"n_group": 2, "topk_group": 3}, "topk_group 3 are chosen of n_group 2 groups"),
        (Glm4MoeConfig, MOE | {"num_key_value_heads": 3}, "num_attention_heads 4 is no multiple"),
        (Glm4MoeLiteConfig, LITE | {"mlp_layer_types": ["dense"]}, "for each of num_hidden_layers 3"),
        (Glm4MoeLiteConfig, LITE | {"qk_rope_head_dim": 7}, "qk_rope_head_dim 7 is no number of pairs"),
    ],
)
def test_a_size_that_no_model_can_have_is_refused_by_name(config: Any, fields: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        config.from_json(fields)


def test_stretched_rotation_is_refused_in_both_spellings() -> None:
    for name, kind in (("rope_scaling", "type"), ("rope_parameters", "rope_type")):
        with pytest.raises(Refused, match=f"{name} asks for rotation of type 'yarn'"):
            Glm4Config.from_json(GLM4 | {name: {kind: "yarn", "factor": 4.0}})


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_a_config_json_as_it_was_published_is_read_and_comes_back(name: str) -> None:
    fields = CONFIG_FILES[name]
    kind = model_class(fields).CONFIG
    config = kind.from_json(fields)
    assert kind.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.rest.items() <= fields.items()


def test_the_two_forms_of_flash_s_config_mean_the_same() -> None:
    older, newer = (Glm4MoeLiteConfig.from_json(CONFIG_FILES[f"GLM-4.7-Flash, {form}"]) for form in ("5.0", "5.7"))
    assert older == newer == Glm4MoeLiteConfig.from_json(published_sizes()["glm-4_7-flash"]["config"])


def test_rotation_is_read_in_both_spellings_and_written_in_the_older() -> None:
    flat = Glm4Config.from_json(GLM4 | {"rope_theta": 500.0, "partial_rotary_factor": 0.25, "rope_scaling": None})
    nested = {"rope_theta": 500.0, "partial_rotary_factor": 0.25, "rope_type": "default"}
    assert Glm4Config.from_json(GLM4 | {"rope_parameters": nested}) == flat
    assert flat.rotation.theta == 500.0
    assert flat.rotation.width == 4
    written = flat.to_json()
    assert (written["rope_theta"], written["partial_rotary_factor"]) == (500.0, 0.25)
    assert "rope_parameters" not in written


def test_fields_of_no_concern_come_back_as_they_were() -> None:
    kept = {"eos_token_id": [3, 5], "transformers_version": "4.54.0", "use_cache": True}
    config = Glm4MoeConfig.from_json(MOE | kept)
    assert kept.items() <= config.to_json().items()
    assert Glm4MoeConfig.from_json(config.to_json()) == config


def test_older_files_of_flash_say_how_many_layers_are_dense_and_newer_ones_which() -> None:
    older = Glm4MoeLiteConfig.from_json(LITE | {"first_k_dense_replace": 2})
    assert older.mlp_layer_types == ("dense", "dense", "sparse")
    assert older.to_json()["first_k_dense_replace"] == 2
    newer = Glm4MoeLiteConfig.from_json(LITE | {"mlp_layer_types": ["sparse", "dense", "sparse"]})
    assert [newer.has_experts(layer) for layer in range(3)] == [True, False, True]
    assert "first_k_dense_replace" not in newer.to_json()


def test_what_llama_cpp_needs_to_know_of_the_router_is_always_written() -> None:
    assert Glm4MoeLiteConfig.from_json(LITE | {"first_k_dense_replace": 1}).to_json()["scoring_func"] == "sigmoid"


def test_a_type_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused, match=r"model_type is 'llama', and openglm has chatglm, glm, .*glm4_moe_lite"):
        model_class({"model_type": "llama"})


def test_a_model_without_prediction_layers_is_the_same_trunk() -> None:
    config = Glm4MoeConfig.from_json(MOE | {"num_nextn_predict_layers": 2})
    assert config.prediction_prefixes() == ["model.layers.3.", "model.layers.4."]
    assert config.without_prediction() == replace(config, num_nextn_predict_layers=0)
    assert len(build(MOE | {"model_type": "glm4_moe"}).model.layers) == 3
