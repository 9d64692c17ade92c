"""An adapter as a GGUF of its own, which llama.cpp lays over its base: by request, several over one model in memory.

It knows names of layers and pairs of matrices; where they come from (``tune/lora.py``) is not its business. Source:
llama.cpp's ``convert_lora_to_gguf.py`` and ``src/llama-adapter.cpp``: ``<tensor>.lora_a`` and ``<tensor>.lora_b``
beside ``adapter.lora.alpha``; what is added is ``alpha / rank * B A``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
from torch import Tensor

from openglm.errors import Refused
from openglm.export import latent
from openglm.export.llama import architecture_of, names_of
from openglm.models.glm4_moe_lite import Glm4MoeLiteConfig

THINKS = "openmaas.thinks"  # our own word: whether it learned from thoughts; what did not is never asked for one


def passed_over(config: Any, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that llama.cpp multiplies without their adapter, and says nothing."""
    if not isinstance(config, Glm4MoeLiteConfig):
        return []
    return [name for name in names if name.rpartition(".")[2] in latent.PAST_ADAPTERS]


def write(
    config: Any, pairs: Iterable[tuple[str, Tensor, Tensor]], alpha: float, path: Path, *, thinks: bool = True
) -> None:
    """Write the file, whole or not at all; without what is of layers that predict further tokens, which llama.cpp does
    not load beside an adapter.

    ``pairs``: the published name of a linear layer, A ``[rank, in]`` and B ``[out, rank]``. Raises ``Refused`` for an
    architecture that llama.cpp does not run, and for what it would pass over.
    """
    arch, named = architecture_of(config), names_of(config)
    pairs = list(pairs)
    if lost := passed_over(config, (name for name, _, _ in pairs)):
        raise Refused(
            f"the adapter has {lost[0]}, and llama.cpp does not look at adapters there",
            hint="Merge it into the model and write that.",
        )
    partial = path.with_name(path.name + ".partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_bool(THINKS, thinks)
    ahead = tuple(config.prediction_prefixes())
    for name, a, b in pairs:
        if name.startswith(ahead):
            continue
        found = named(f"{name}.weight")
        writer.add_tensor(f"{found}.lora_a", a.detach().float().numpy())
        writer.add_tensor(f"{found}.lora_b", b.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)
