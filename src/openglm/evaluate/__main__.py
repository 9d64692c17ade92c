"""``python -m openglm.evaluate FOLDER``: what was found of the model in ``FOLDER``; with ``--data`` it is asked anew.

    likelihood   how likely it finds held-out text, and what a GGUF file of each precision loses of that
    infilling    which share of the gaps in held-out text it fills exactly

``DATA`` is a folder that ``openglm.data.prepare`` filled, of the same tokenizer. What is found is added to
``evaluations.json`` beside the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from openglm.checkpoint.folder import load
from openglm.data.batches import Batches, Causal
from openglm.data.prepare import Prepared, opened
from openglm.errors import Refused
from openglm.evaluate import infilling
from openglm.evaluate.likelihood import likelihood
from openglm.evaluate.results import Result, keep, kept, table
from openglm.evaluate.rounding import lost
from openglm.export.llama import Precision
from openglm.models.classic import Classic


def ask_likelihood(folder: Path, data: Path, *, batches: int, rows: int, length: int) -> Result:
    """Of a causal model. Raises ``Refused`` where folder or data are not what they should be."""
    model, prepared = _both(folder, data)
    if isinstance(model, Classic):
        raise Refused("likelihood: a classic model reads no plain text", hint="Ask it for infilling.")
    source = Batches(prepared.held_out, Causal(), length=length, rows=rows, seed=0, pad=prepared.tokenizer.specials.pad)
    held_out = [source[number] for number in range(batches)]
    found = likelihood(model, held_out, prepared.tokenizer)
    asked = {"text": prepared.held_out.source, "batches": batches, "rows": rows, "length": length}
    figures = {
        **asdict(found),
        "perplexity": round(found.perplexity, 3),
        "bits_per_byte": round(found.bits_per_byte, 4),
        "lost": [asdict(lost(model, precision, held_out)) for precision in get_args(Precision)],
    }
    return keep(folder, "likelihood", asked, figures)


def ask_infilling(folder: Path, data: Path, *, texts: int, ratio: float, span_mean: float, length: int) -> Result:
    """Of a classic model, or of one that was trained to fill in the middle. Raises ``Refused`` as above."""
    model, prepared = _both(folder, data)
    tokenizer, most = prepared.tokenizer, length
    if isinstance(model, Classic) and model.places is not None:
        most = min(length, model.places - 1)
    questions = infilling.questions(
        prepared.held_out, tokenizer, count=texts, tokens_max=most, ratio=ratio, span_mean=span_mean
    )
    if isinstance(model, Classic):
        filled = infilling.fill_blanks(model, tokenizer, questions, tell=_progress(len(questions)))
    else:
        filled = infilling.fill_middles(model, tokenizer, questions, tell=_progress(len(questions)))
    asked = {
        "text": prepared.held_out.source,
        "texts": len(questions),
        "ratio": ratio,
        "span_mean": span_mean,
        "tokens_max": most,
    }
    return keep(folder, "infilling", asked, asdict(infilling.score(questions, filled)))


def _both(folder: Path, data: Path) -> tuple[Any, Prepared]:
    model, prepared = load(folder), opened(data)
    if len(prepared.tokenizer) > model.embedding.num_embeddings:
        raise Refused(
            f"data: its vocabulary has {len(prepared.tokenizer)} tokens, the model {model.embedding.num_embeddings}",
            hint="Give the data that the model was trained on.",
        )
    return model, prepared


def _progress(texts: int) -> infilling.Tell:
    def tell(done: int) -> None:
        if done == texts or done % infilling.ROWS == 0:
            print(f"· {done} of {texts} texts", file=sys.stderr, flush=True)

    return tell


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser(prog="python -m openglm.evaluate", description=(__doc__ or "").splitlines()[0])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--data", type=Path, help="without it, what was found before is shown")
    asked.add_argument("--ask", choices=["likelihood", "infilling"], default="likelihood")
    asked.add_argument("--length", type=int, default=256, help="tokens of a text, at most")
    asked.add_argument("--batches", type=int, default=16, help="of the likelihood")
    asked.add_argument("--rows", type=int, default=16, help="of a batch")
    asked.add_argument("--texts", type=int, default=256, help="with gaps to be filled")
    asked.add_argument("--ratio", type=float, default=0.0, help="how much of a text is hidden; 0 is one gap")
    asked.add_argument("--span-mean", type=float, default=3.0, help="characters of a gap")
    told = asked.parse_args()
    try:
        if told.data is None:
            found = kept(told.folder)
        elif told.ask == "likelihood":
            sizes = {"batches": told.batches, "rows": told.rows, "length": told.length}
            found = [ask_likelihood(told.folder, told.data, **sizes)]
        else:
            gaps = {"texts": told.texts, "ratio": told.ratio, "span_mean": told.span_mean}
            found = [ask_infilling(told.folder, told.data, length=told.length, **gaps)]
    except Refused as refused:
        sys.exit(str(refused))
    print(table(found) or "Nothing was found of this model yet; ask with --data.")


if __name__ == "__main__":
    main()
