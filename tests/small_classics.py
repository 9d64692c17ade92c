"""Small classic models that several tests of openglm build: three layers, four heads, fifty tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from openglm.models.chatglm_6b import ChatGlm6B, ChatGlm6BConfig
from openglm.models.classic import Classic
from openglm.models.glm import Glm, GlmConfig
from openglm.models.glm_130b import Glm130B, Glm130BConfig

SMALL: dict[str, Any] = {"num_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 50}
GLM = GlmConfig(**SMALL, max_sequence_length=20)
GLM_1D = GlmConfig(**SMALL, max_sequence_length=20, block_position_encoding=False)
GLM_130B = Glm130BConfig(**SMALL, inner_hidden_size=48, max_sequence_length=20)
CHATGLM_6B = ChatGlm6BConfig(**SMALL, inner_hidden_size=64, max_sequence_length=20)
CONFIGS = {"glm": GLM, "glm-1d": GLM_1D, "glm-130b": GLM_130B, "chatglm-6b": CHATGLM_6B}
KINDS: dict[type, type[Classic]] = {GlmConfig: Glm, Glm130BConfig: Glm130B, ChatGlm6BConfig: ChatGlm6B}
each = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def built(config: Any, seed: int = 0) -> Classic:
    model = KINDS[type(config)](config)
    generator = torch.Generator().manual_seed(seed)
    model.initialise(generator)
    with torch.no_grad():  # far from where training starts, so that every term shows
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()
