"""From names of corpora to a folder that training can open: tokenizer.json, train/ and held-out/ shards.

    python -m openglm.data.prepare chinese-poetry --into data/poems --kind characters --size 6144

Every step that is done is skipped the next time, so that an interrupted run is simply started again. It ties together
what the other files of this folder do, and recipes call it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from openglm.bounds import MERGED_LETTERS_MAX
from openglm.data import atomic, corpora, shards
from openglm.data.shards import Shards
from openglm.data.tokenizer import Tokenizer, train_bpe, train_characters
from openglm.errors import Refused

TRAINERS = {"bpe": train_bpe, "characters": train_characters}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training opens."""

    tokenizer: Tokenizer
    train: Shards
    held_out: Shards


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def prepare(
    names: list[str],
    folder: Path,
    *,
    kind: str,
    size: int,
    sentinels: int = 0,
    archive_folder: Path | None = None,
    tell: Callable[[str], None] = _say,
) -> Prepared:
    """Fetch, clean, divide, train a tokenizer on the training part, and tokenise both parts.

    Args:
        names: corpora of the catalogue.
        folder: where to; what is complete in it is only opened.
        kind: `bpe` or `characters`.
        size: the vocabulary, marks included.
        sentinels: numbered pairs of marks, for the arm that wants them.
        archive_folder: where fetched archives are kept; `folder`'s sibling `archives` without it.
        tell: gets a line for each step.

    Raises:
        Refused: a name or a number is wrong, something cannot be fetched, or `folder` was made of something else.
    """
    if kind not in TRAINERS:
        raise Refused(f"kind: there is no {kind}", hint=f"Choose from {', '.join(TRAINERS)}.")
    asked = {"corpora": names, "kind": kind, "size": size, "sentinels": sentinels}
    note = folder / "prepared.json"
    if note.exists():
        if (made := json.loads(note.read_text())) != asked:
            raise Refused(f"{folder}: it was prepared from {made}", hint="Name another folder, or remove this one.")
        return opened(folder)
    tell(f"reading {', '.join(names)}")
    found = corpora.load(names, archive_folder or folder.parent / "archives")
    characters = sum(map(len, found.train))
    tell(
        f"{len(found.train):,} documents with {characters:,} characters to train on, {len(found.held_out):,} held out "
        f"({found.repeated:,} repeated and {found.leaked:,} leaked ones left out)"
    )
    place = folder / "tokenizer.json"
    if not place.exists():
        # Every n-th document: what the merges of a vocabulary are is settled long before the corpus is read.
        stride = 1 if kind == "characters" else -(-characters // MERGED_LETTERS_MAX)
        TRAINERS[kind](found.train[::stride], size, sentinels=sentinels).save(place)
        tell(f"trained a tokenizer of {size:,} tokens")
    tokenizer = Tokenizer.load(place)
    for part, texts in (("train", found.train), ("held-out", found.held_out)):
        if not texts:
            raise Refused(f"{part}: no documents are in it", hint="Take a larger corpus.")

        def progress(documents: int, tokens: int, part: str = part, total: int = len(texts)) -> None:
            tell(f"{part}: {documents:,} of {total:,} documents, {tokens:,} tokens")

        made = shards.write(
            folder / part,
            texts,
            tokenizer.encode_batch,
            vocabulary=len(tokenizer),
            eos=tokenizer.specials.eos,
            source=f"{'+'.join(names)} {corpora.digest(texts)} tokenizer {tokenizer.digest}",
            tell=progress,
        )
        tell(f"{part}: {made.tokens:,} tokens, {made.tokens / sum(map(len, texts)):.3f} a character")
    atomic.write(note, json.dumps(asked).encode())
    return opened(folder)


def opened(folder: Path) -> Prepared:
    """What `prepare` left in a folder.

    Raises:
        Refused: it is not complete.
    """
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return Prepared(tokenizer, Shards(folder / "train"), Shards(folder / "held-out"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m openglm.data.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", help=", ".join(corpora.catalogue()))
    parser.add_argument("--into", type=Path, required=True, help="the folder to fill")
    parser.add_argument("--kind", choices=list(TRAINERS), default="bpe")
    parser.add_argument("--size", type=int, default=8192, help="tokens in the vocabulary, marks included")
    parser.add_argument("--sentinels", type=int, default=0, help="numbered marks for the sentinel arm")
    asked = parser.parse_args()
    try:
        prepare(asked.corpora, asked.into, kind=asked.kind, size=asked.size, sentinels=asked.sentinels)
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
