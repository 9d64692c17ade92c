"""Load a published checkpoint into its model, and save a model as one.

The reader is strict: every tensor that the model has must be there, in its shape, and none besides, because a tensor
left at random makes a model that answers, badly. It knows the published layout and every class of the registry; how
models are trained or run is none of its business. Trainers, exporters and our own worker call it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from openglm.checkpoint.experts import Place, published
from openglm.checkpoint.safetensors_folder import (
    Tensors,
    opened,
    read_json,
    some,
    write_tensors,
    written_whole,
)
from openglm.errors import Refused
from openglm.models.decoder import Decoder
from openglm.models.registry import model_class

#: Kept in fp32 whatever the rest is in, as in published checkpoints: balancing moves it by thousandths.
ALWAYS_FP32 = "e_score_correction_bias"


def load(
    folder: Path | str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    without_mtp: bool = False,
) -> Decoder:
    """The model in ``folder``, each tensor in the precision it has on disk unless ``dtype`` says another.

    ``without_mtp`` leaves out the layers that predict further tokens, whether the files have them or not. Raises
    ``Refused`` naming the fields or tensors that are missing, unknown or of another shape.
    """
    folder = Path(folder)
    fields = read_json(folder / "config.json")
    kind = model_class(fields)
    config = kind.CONFIG.from_json(fields)
    with opened(folder) as tensors:
        names = set(tensors.names)
        prediction = tuple(config.prediction_prefixes())
        if without_mtp:
            config = config.without_prediction()
            names = {name for name in names if not name.startswith(prediction)}
        elif prediction and not any(name.startswith(prediction) for name in names):
            raise Refused(
                f"{folder}: config.json announces prediction layers, and the files have no tensor {prediction[0]}*",
                hint="Load with without_mtp=True: many tools drop these layers when they save.",
            )
        with torch.device("meta"):
            model = kind(config, **kind.variant(config, names))
        _check(folder, model, tensors, names)
        model.load_state_dict(_assembled(model, tensors, dtype, device), assign=True)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:  # what checkpoints do not have: counters
                setattr(module, name, torch.zeros_like(buffer, device=device))
    model.tie()
    return model.eval()


def save(
    model: Decoder, folder: Path | str, *, dtype: torch.dtype | None = None, shard_bytes_max: int = 5_000_000_000
) -> None:
    """Write ``model`` to ``folder``, which must not exist, in the published layout.

    ``dtype`` is for all tensors but the router's bias; without it each is written as it is. A shard is as large as a
    published one unless ``shard_bytes_max`` says otherwise.
    """
    state = model.state_dict()
    where = dict(places(model))

    def fetched(name: str) -> Tensor:
        return _cast(name, where[name].of(state[where[name].name]), dtype)

    sizes = {
        name: place.of(state[place.name]).numel() * _dtype_of(name, state[place.name], dtype).itemsize
        for name, place in where.items()
    }
    with written_whole(Path(folder)) as partial:
        config = {name: value for name, value in model.config.to_json().items() if name != "dtype"}
        config["torch_dtype"] = str(dtype or model.embedding.weight.dtype).removeprefix("torch.")
        (partial / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_tensors(partial, sizes, fetched, shard_bytes_max=shard_bytes_max)


def places(model: Decoder) -> Iterator[tuple[str, Place]]:
    """Every published tensor of ``model`` and where it is in its ``state_dict()``; a tied head is not one."""
    tied = _weight_of(model, model.head) if model.config.tie_word_embeddings else None
    for name, tensor in model.state_dict().items():
        if name != tied:
            yield from published(name, tuple(tensor.shape))


def _check(folder: Path, model: Decoder, tensors: Tensors, names: set[str]) -> None:
    state = model.state_dict()
    wanted = {name: tuple(place.of(state[place.name]).shape) for name, place in places(model)}
    tied = {_weight_of(model, model.head)} - wanted.keys()  # some publish a tied head a second time
    for problem, which in (
        ("miss", wanted.keys() - names),
        ("have beside what the model knows", names - wanted.keys() - tied),
    ):
        if which:
            raise Refused(
                f"{folder}: the files {problem} {some(which)}",
                hint="config.json and the files must be of the same checkpoint; nothing is filled in or left out.",
            )
    for name, shape in wanted.items():
        if tensors.shape(name) != shape:
            raise Refused(
                f"{folder}: {name} is {list(tensors.shape(name))}, and config.json makes it {list(shape)}",
                hint="config.json and the files must be of the same checkpoint.",
            )


def _assembled(
    model: Decoder, tensors: Tensors, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Tensor]:
    """The model's ``state_dict()`` from the files; experts are stacked here."""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for name, place in places(model):
        tensor = _cast(name, tensors[name], dtype)
        if place.expert is None:
            state[place.name] = tensor.to(device)
            continue
        if place.name not in state:
            state[place.name] = torch.empty(shapes[place.name], dtype=tensor.dtype, device=device)
        place.of(state[place.name]).copy_(tensor)
    if model.config.tie_word_embeddings:  # tie() makes it the same parameter again
        state[_weight_of(model, model.head)] = state[_weight_of(model, model.embedding)]
    return state


def _weight_of(model: Decoder, part: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is part) + ".weight"


def _dtype_of(name: str, tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None or not tensor.is_floating_point() or name.endswith(ALWAYS_FP32):
        return tensor.dtype
    return dtype


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(_dtype_of(name, tensor, dtype))
