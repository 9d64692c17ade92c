"""A folder of safetensors files: one, or several with an index that says which has what.

    model.safetensors                                 or
    model-00001-of-00003.safetensors … and model.safetensors.index.json: {"metadata", "weight_map": {name: file}}

It knows names, shapes and bytes, and no model. A folder is written beside its place and renamed into it, so that a
checkpoint is there whole or not at all; one shard is in memory at a time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openglm.errors import Refused

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Tensors:
    """The tensors of an open folder, read one at a time."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files

    @property
    def names(self) -> frozenset[str]:
        """What the files have."""
        return frozenset(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, from the file's header."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor


@contextmanager
def opened(folder: Path) -> Iterator[Tensors]:
    """The tensors in ``folder``. Raises ``Refused`` where the files are missing, damaged or not what the index says."""
    index = folder / INDEX
    if index.exists():
        weight_map: dict[str, str] | None = read_json(index).get("weight_map", {})
        names = sorted(set(weight_map.values())) if weight_map else []
    else:
        weight_map, names = None, [ONE]
        if any(folder.glob("*.bin")) and not (folder / ONE).exists():
            raise Refused(
                f"{folder} has its weights as pickles (*.bin), which run code when they are read",
                hint="Take the safetensors files of the same model, or convert these where you trust them.",
            )
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for name in names:
            try:
                file = stack.enter_context(safe_open(folder / name, framework="pt"))
            except (OSError, SafetensorError) as cannot:
                raise Refused(
                    f"{folder / name} cannot be read: {cannot}",
                    hint="Fetch the checkpoint again; a shard that is cut off looks like this.",
                ) from cannot
            files |= {tensor: file for tensor in file.keys() if weight_map is None or weight_map.get(tensor) == name}  # noqa: SIM118 - it is no dict
        absent = sorted(set(weight_map or ()) - files.keys())
        if absent:
            raise Refused(
                f"{index} names tensors that its files do not have: {some(absent)}",
                hint="Fetch the checkpoint again: index and shards are of different versions.",
            )
        yield Tensors(files)


def some(names: Iterable[str]) -> str:
    """The first few of many names, and how many more there are."""
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises ``Refused`` where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cannot:
        raise Refused(
            f"{file} cannot be read: {cannot}", hint="A checkpoint is a folder with config.json and safetensors files."
        ) from cannot
    if not isinstance(found, dict):
        raise Refused(f"{file} is not a JSON object", hint="Take the file of the published checkpoint.")
    return found


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``folder`` at the end, or is gone after an error.

    Raises ``Refused`` where there is something at ``folder`` already: a checkpoint is never changed.
    """
    if folder.exists():
        raise Refused(f"{folder} exists", hint="Write to another folder, or remove this one first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        for file in [*partial.iterdir(), partial]:
            _to_disk(file)  # a rename may reach the disk before the bytes it names
        partial.rename(folder)
        _to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_tensors(
    folder: Path, sizes: Mapping[str, int], tensor: Callable[[str], Tensor], *, shard_bytes_max: int
) -> None:
    """Write the tensors named in ``sizes`` (name to bytes, in this order), each fetched when its shard is written.

    Shards hold ``shard_bytes_max`` bytes of tensors at most, unless a single tensor is larger.
    """
    shards: list[list[str]] = [[]]
    room = shard_bytes_max
    for name, size in sizes.items():
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes_max
        shards[-1].append(name)
        room -= size
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = ONE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(names, file)
        # The mark is what transformers looks for before it reads a file.
        save_file({name: _owned(tensor(name)) for name in names}, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _owned(tensor: Tensor) -> Tensor:
    """``tensor`` as memory of its own, in order: safetensors refuses views of each other."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
