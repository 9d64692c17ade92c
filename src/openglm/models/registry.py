"""Which class a config.json means. Checkpoints are read, and exporters find their way, by this table.

It knows names and nothing of what is behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openglm.errors import Refused
from openglm.models.chatglm2 import ChatGLM2
from openglm.models.chatglm_6b import ChatGlm6B
from openglm.models.decoder import Decoder
from openglm.models.glm import Glm
from openglm.models.glm4 import Glm4
from openglm.models.glm4_0414 import Glm4Sandwich
from openglm.models.glm4_moe import Glm4Moe
from openglm.models.glm4_moe_lite import Glm4MoeLite
from openglm.models.glm_130b import Glm130B

#: ``model_type`` of config.json, and the class.
MODELS: Mapping[str, type[Decoder]] = {
    "chatglm": ChatGLM2,
    "glm": Glm4,
    "glm-130b": Glm130B,
    "glm4": Glm4Sandwich,
    "glm4_moe": Glm4Moe,
    "glm4_moe_lite": Glm4MoeLite,
}


def model_class(fields: Mapping[str, Any]) -> type[Decoder]:
    """The class for a config.json. Raises ``Refused`` where there is none."""
    kind = str(fields.get("model_type"))
    if kind not in MODELS:
        raise Refused(
            f"config.json: model_type is {kind!r}, and openglm has {', '.join(sorted(MODELS))}",
            hint="Serve this checkpoint with another engine, or add its architecture to models/registry.py.",
        )
    # Two names were given a second time, to another architecture; the first ones are known by a field of theirs.
    if kind == "glm" and "max_sequence_length" in fields:
        return Glm
    if kind == "chatglm" and "multi_query_group_num" not in fields:
        return ChatGlm6B
    return MODELS[kind]


def build(fields: Mapping[str, Any], **variant: Any) -> Decoder:
    """A model with the sizes of a config.json and weights that mean nothing yet (``initialise`` them, or load)."""
    kind = model_class(fields)
    return kind(kind.CONFIG.from_json(fields), **variant)
