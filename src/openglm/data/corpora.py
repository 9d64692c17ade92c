"""The corpora by name: from the catalogue (`corpora.toml`) to documents to train on and documents to hold out.

It fetches (`archives.py`), cleans (`cleaning.py`) and divides (`splitting.py`), and knows neither tokens nor models.
`prepare.py` and the recipes call it.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from openglm.data import archives
from openglm.data.cleaning import CLEANERS
from openglm.data.splitting import Split, split
from openglm.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """An entry of the catalogue."""

    name: str
    about: str
    language: str
    licence: str
    source: str
    client: str  # npm, apt, or python for the interpreter's own library
    members: tuple[str, ...]
    clean: str
    held_out_permille: int  # so many of a thousand documents are not trained on
    package: str = ""
    version: str = ""
    sha256: str = ""

    def documents(self, archive_folder: Path) -> Iterator[str]:
        """Every document, cleaned, in the archive's order; the archive is fetched if it is not there."""
        if self.client == "python":
            found = archives.library()
        else:
            archive = archives.fetch(self.client, self.package, self.version, self.sha256, archive_folder)
            found = archives.members(self.client, archive, self.members)
        for name, body in found:
            yield from CLEANERS[self.clean](name, body)


def catalogue() -> dict[str, Corpus]:
    """Every corpus by its name."""
    told = tomllib.loads((files("openglm.data") / "corpora.toml").read_text())
    return {name: Corpus(name=name, **{**entry, "members": tuple(entry["members"])}) for name, entry in told.items()}


def load(names: list[str], archive_folder: Path) -> Split:
    """The documents of these corpora, one after the other, without repetitions, in two parts.

    Raises:
        Refused: there is no corpus of such a name, or it cannot be fetched.
    """
    known = catalogue()
    if wrong := [name for name in names if name not in known]:
        raise Refused(f"corpus: there is no {', '.join(wrong)}", hint=f"Choose from {', '.join(known)}.")
    return split(
        (text, known[name].held_out_permille) for name in names for text in known[name].documents(archive_folder)
    )


def digest(texts: list[str]) -> str:
    """What these documents, in this order, are known by: 16 digits of a SHA-256."""
    sha = hashlib.sha256()
    for text in texts:
        sha.update(text.encode() + b"\x00")
    return sha.hexdigest()[:16]
