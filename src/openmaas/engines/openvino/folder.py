"""What weights must be so that OpenVINO reads them, found out without loading it: a GGUF file of tensor types that it
knows, or a folder of its own form (IR: ``openvino_model.xml`` and ``.bin``, with the tokenizer's beside them).

The catalogue asks before such a deployment is added, and the engine when it starts. It loads nothing; ``convert.py``
makes the folder of a file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from openmaas.core.bounds import SLOT_CONTEXT_TOKENS_MAX
from openmaas.core.errors import ExtraMissing, FieldInvalid
from openmaas.engines.gguf import TENSOR_TYPES, gguf_tensor_types

#: What the engine computes with; the extra ``openvino`` brings them.
_NEEDS = ("openvino", "openvino_genai", "openvino_tokenizers", "numpy")
#: The tensors that its reader of GGUF understands (openvino-genai 2026.4; Q5_0 fails there with "gguf_tensor_to_f16").
READ_TYPES = ("F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K")
#: The files of a folder that can be served.
FILES = (
    "openvino_model.xml",
    "openvino_model.bin",
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
)


class _Config(msgspec.Struct):
    max_position_embeddings: int | None = None


def check_extra() -> None:
    """Raises ``ExtraMissing`` where the packages are not installed that this engine computes with."""
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        told = f"engines of kind openvino need {', '.join(missing)}, not installed here; run `make setup-openvino`"
        raise ExtraMissing(told)


def check_weights(path: Path) -> None:
    """Raises ``FieldInvalid`` that says what is wrong with the file or folder, and what to do about it."""
    if path.is_dir():
        if missing := [name for name in FILES if not (path / name).is_file()]:
            said = (
                f"{path} has no {missing[0]}; a folder for kind openvino has {', '.join(FILES)}, as optimum's "
                "`optimum-cli export openvino` writes them; or name a GGUF file, which is converted here"
            )
            raise FieldInvalid(said, field="weights")
        return
    for name, number in gguf_tensor_types(path):
        told = TENSOR_TYPES.get(number, f"type {number}")
        if told not in READ_TYPES:
            said = (
                f"{path}: the tensor {name} is {told}, which openvino does not read; it reads {', '.join(READ_TYPES)}. "
                "Take the file in Q8_0 or Q4_0, or deploy this one with kind llama"
            )
            raise FieldInvalid(said, field="weights")


def is_ir(path: Path) -> bool:
    """Whether a folder holds a model of OpenVINO's own form."""
    return (path / FILES[0]).is_file()


def ir_context(path: Path) -> int:
    """How many tokens the model in the folder was made for, as the ``config.json`` that optimum writes beside it says;
    without one as many as a slot has at most. Raises ``FieldInvalid`` for a file that cannot be read."""
    check_weights(path)
    config = path / "config.json"
    if not config.is_file():
        return SLOT_CONTEXT_TOKENS_MAX
    try:
        said = msgspec.json.decode(config.read_bytes(), type=_Config)
    except msgspec.DecodeError as wrong:
        raise FieldInvalid(f"{config}: {wrong}", field="model") from None
    return said.max_position_embeddings or SLOT_CONTEXT_TOKENS_MAX
