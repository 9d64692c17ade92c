"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): a matrix W stays as it is and learns ``scale * B A`` beside it.

On disk they lie as ``peft`` lays them (``adapter_config.json``, ``adapter_model.safetensors``), so that what was tuned
here is read by transformers, vLLM and llama.cpp's converter, and the other way round.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from openglm.errors import Refused

PREFIX = "base_model.model."  # what peft puts before every name
#: The matrices of a decoder layer, in every published naming of the line; of one that predicts further tokens not
#: ``eh_proj``, for vLLM refuses a whole adapter by a name that no layer of the trunk has.
TARGETS = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj"),
    *("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
)


@dataclass(frozen=True)
class Lora:
    """How large an adapter is and where it sits: the last part of the names of linear layers."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise Refused(f"rank is {self.rank}", hint="It must be at least 1; 8 is common.")


class Adapted(nn.Module):
    """A linear layer with an adapter beside it. ``[..., in] -> [..., out]``; only the adapter learns."""

    def __init__(self, layer: nn.Linear, lora: Lora) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scale = lora.alpha / lora.rank
        self.on = True
        place = {"device": layer.weight.device, "dtype": torch.float32}
        self.lora_A = nn.Parameter(torch.empty(lora.rank, layer.in_features, **place))
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, lora.rank, **place))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer says, and what was learned since."""
        said = self.layer(x)
        if not self.on:
            return said
        return said + self.scale * functional.linear(functional.linear(x, self.lora_A), self.lora_B)

    def merged(self) -> nn.Linear:
        """One linear layer that says the same."""
        with torch.no_grad():
            self.layer.weight += (self.scale * self.lora_B @ self.lora_A).to(self.layer.weight.dtype)
        return self.layer


def attach(model: nn.Module, lora: Lora, without: tuple[str, ...] = ()) -> list[str]:
    """Put an adapter beside every linear layer that ``lora`` names, and hold all else still; the layers' names.

    ``without``: what the names of layers begin with that get none.
    """
    model.requires_grad_(False)
    found = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and name.rpartition(".")[2] in lora.targets and not name.startswith(without)
    ]
    if not found:
        raise Refused(f"targets is {', '.join(lora.targets)}", hint="The model has no linear layer of such a name.")
    for name, part in found:
        _put(model, name, Adapted(part, lora))
    return [name for name, _ in found]


def merge(model: nn.Module) -> None:
    """Make every adapter part of its layer: the model is as it was before, and knows more."""
    for name, part in adapters(model):
        _put(model, name, part.merged())


def adapters(model: nn.Module) -> list[tuple[str, Adapted]]:
    """(name of the layer, adapter) of all that are attached."""
    return [(name, part) for name, part in model.named_modules() if isinstance(part, Adapted)]


@contextmanager
def without(model: nn.Module) -> Iterator[None]:
    """The model as it was before it was tuned."""
    parts = [part for _, part in adapters(model)]
    for part in parts:
        part.on = False
    try:
        yield
    finally:
        for part in parts:
            part.on = True


def save(model: nn.Module, lora: Lora, folder: Path) -> None:
    """Write the adapter alone."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, part in adapters(model):
        weights[f"{PREFIX}{name}.lora_A.weight"] = part.lora_A.detach().contiguous()
        weights[f"{PREFIX}{name}.lora_B.weight"] = part.lora_B.detach().contiguous()
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": sorted({name.rpartition(".")[2] for name, _ in adapters(model)}),
        "lora_dropout": 0.0,
        "bias": "none",
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(told, indent=2) + "\n")


def load(model: Any, folder: Path) -> Lora:
    """Attach the adapter that ``save``, or peft, wrote; layers that predict further tokens may have none."""
    told = json.loads((folder / "adapter_config.json").read_text())
    for field, plain in (("bias", "none"), ("use_dora", False), ("use_rslora", False), ("modules_to_save", None)):
        if told.get(field, plain) not in (plain, None, []):
            raise Refused(
                f"{field} is {told[field]!r} in adapter_config.json", hint="Merge the adapter with peft first."
            )
    weights = load_file(folder / "adapter_model.safetensors")
    names = {re.sub(r"\.lora_[AB]\.weight$", "", name.removeprefix(PREFIX)) for name in weights}
    lora = Lora(told["r"], told["lora_alpha"], tuple(sorted({name.rpartition(".")[2] for name in names})))
    ahead = model.config.prediction_prefixes()
    without = tuple(prefix for prefix in ahead if not any(name.startswith(prefix) for name in names))
    attached = dict.fromkeys(attach(model, lora, without))
    if unknown := sorted(names - attached.keys()):
        raise Refused(f"the adapter has {unknown[0]}, which the model has not", hint="It is another model's.")
    if missing := sorted(attached.keys() - names):
        raise Refused(
            f"the adapter has nothing for {missing[0]}", hint="The file was cut off, or made for fewer layers."
        )
    for name, part in adapters(model):
        with torch.no_grad():
            part.lora_A.copy_(weights[f"{PREFIX}{name}.lora_A.weight"])
            part.lora_B.copy_(weights[f"{PREFIX}{name}.lora_B.weight"])
    return lora


def _put(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)
