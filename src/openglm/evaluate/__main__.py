"""``python -m openglm.evaluate FOLDER --data DATA``: how good the model in ``FOLDER`` is on held-out text.

``DATA`` is a folder that ``openglm.data.prepare`` filled, of the same tokenizer. What is found is printed and written
to ``evaluation.json`` beside the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from openglm.checkpoint.folder import load
from openglm.data.batches import Batches, Causal
from openglm.data.prepare import opened
from openglm.errors import Refused
from openglm.evaluate.likelihood import likelihood
from openglm.evaluate.rounding import lost
from openglm.export.llama import Precision


def evaluate(folder: Path, data: Path, *, batches: int, rows: int, length: int) -> dict[str, object]:
    """The evaluation, as it is written. Raises ``Refused`` where folder or data are not what they should be."""
    model, prepared = load(folder), opened(data)
    if len(prepared.tokenizer) > model.embedding.num_embeddings:
        raise Refused(
            f"data: its vocabulary has {len(prepared.tokenizer)} tokens, the model {model.embedding.num_embeddings}",
            hint="Give the data that the model was trained on.",
        )
    source = Batches(prepared.held_out, Causal(), length=length, rows=rows, seed=0, pad=prepared.tokenizer.specials.pad)
    held_out = [source[number] for number in range(batches)]
    found = likelihood(model, held_out, prepared.tokenizer)
    told: dict[str, object] = {
        **asdict(found),
        "perplexity": round(found.perplexity, 3),
        "bits_per_byte": round(found.bits_per_byte, 4),
        "lost": [asdict(lost(model, precision, held_out)) for precision in get_args(Precision)],
    }
    (folder / "evaluation.json").write_text(json.dumps(told, indent=2) + "\n")
    return told


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser(prog="python -m openglm.evaluate", description=(__doc__ or "").splitlines()[0])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--batches", type=int, default=16)
    asked.add_argument("--rows", type=int, default=16)
    asked.add_argument("--length", type=int, default=256)
    told = asked.parse_args()
    try:
        found = evaluate(told.folder, told.data, batches=told.batches, rows=told.rows, length=told.length)
    except Refused as refused:
        sys.exit(str(refused))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
