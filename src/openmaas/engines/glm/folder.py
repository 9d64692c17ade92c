"""What a folder must be so that this engine can serve it, found out without torch.

A checkpoint of a classic model: ``config.json``, ``*.safetensors``, ``tokenizer.json``. It loads nothing. The catalogue
asks before such a deployment is added, and the engine when it starts; that the tensors fit is seen only then.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from openmaas.core.errors import ExtraMissing, FieldInvalid

#: What openglm needs; the extra ``glm`` brings them.
_NEEDS = ("torch", "safetensors", "tokenizers", "numpy")


class _Config(msgspec.Struct):
    """What tells a classic model from a modern one: the names were given twice (openglm's ``models/registry.py``)."""

    model_type: str
    max_sequence_length: int | None = None
    multi_query_group_num: int | None = None


def check_extra() -> None:
    """Raises ``ExtraMissing`` where the packages are not installed that this engine computes with."""
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        told = (
            f"engines of kind glm compute with torch, and {', '.join(missing)} is not installed; run `make setup-glm`"
        )
        raise ExtraMissing(told)


def context_of(folder: Path) -> int:
    """How many tokens the model in ``folder`` was made for. Raises ``FieldInvalid`` that says what is wrong with it."""
    for pattern in ("config.json", "tokenizer.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise FieldInvalid(
                f"{folder} has no {pattern}; a checkpoint of a classic GLM has config.json, tokenizer.json and "
                "*.safetensors, as openglm's checkpoint.folder and tokenizer write them",
                field="model",
            )
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Config)
    except msgspec.DecodeError as wrong:
        raise FieldInvalid(f"{folder / 'config.json'}: {wrong}", field="model") from None
    modern = config.max_sequence_length is None or config.multi_query_group_num is not None
    if config.model_type not in ("glm", "glm-130b", "chatglm") or modern:
        raise FieldInvalid(
            f"{folder} is no classic GLM (model_type {config.model_type!r}); write a modern one as GGUF with "
            "openglm.export.llama and serve that with llama",
            field="model",
        )
    assert config.max_sequence_length is not None
    return config.max_sequence_length
