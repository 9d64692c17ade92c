"""What the parts of GLM's objective are worth: five arms on classical poetry, three seeds each, one table.

    python recipes/ablations.py --into data/ablations                   # 15 short runs; call it again to go on
    python recipes/ablations.py --into data/larger --depth 6 --steps 8000   # the same question, asked longer

Every arm is a field of ``Blanks``, and all else is the same: architecture, seed, texts, steps, and (but for the
mixture) which spans are blanked. Held-out poems are asked with the same blanks in every arm, each in its own layout:

    nats               of a blanked character that is known to be one: what ends a span is neither counted nor a
                       candidate. BERT still has the advantage: it sees how long a span is before it begins
    exact              share of spans filled exactly, greedily, ended where they end. BERT fills all spans at once, as
                       it was trained; the others write from left to right and see what they wrote
    exact, own length  the same where the model ends its spans itself, which BERT cannot
    continuing         nats of a character of a poem's second half, behind [gMASK], or behind [MASK] where the arm knows
                       no other mark; BERT cannot

Source: GLM, arXiv 2103.10360, sections 2.1 to 2.3 and 3.3. Its models are a hundred times larger and were tuned before
they were asked, so that the direction of a difference can be compared with the paper's, and its size cannot.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openglm.data import atomic
from openglm.data.batches import Batches, BlankInfilling, stacked
from openglm.data.blanks import Blanks
from openglm.data.parts_ab import Layout, continued, infilled, masked
from openglm.data.prepare import Prepared, prepare
from openglm.data.rows import Row
from openglm.data.specials import Specials
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.evaluate.infilling import Question, fill_blanks, questions, score
from openglm.models.glm import Glm
from openglm.train.dial import sizes
from openglm.train.loop import Run
from openglm.train.plot import curves, lines, mean_and_deviation, spreads
from poetry import LENGTH, VOCABULARY, fresh

ROWS = 16  # half of the poetry recipe's: a short run learns more from more steps
LAYOUT = Layout(length_max=LENGTH)
ARMS = {
    "glm": Blanks(layout=LAYOUT),
    "causal-prefix": Blanks(layout=replace(LAYOUT, bidirectional=False)),
    "one-dimension": Blanks(layout=replace(LAYOUT, two_d=False)),
    "bert": Blanks(layout=LAYOUT, masked_lm=True),
    "mixture": Blanks(layout=LAYOUT, bert_prob=0.5, task_mask=True),
}
FIGURES = {
    "nats": "nats a blanked character",
    "exact": "spans exact",
    "exact_own_length": "spans exact, own length",
    "characters_right": "characters right",
    "continuing": "nats a character, continuing",
}
HELD_OUT_BATCHES = 4
TEXTS, TEXT_TOKENS_MAX, RATIO = 1024, 96, 0.15


def ablations(
    data: Prepared,
    into: Path,
    *,
    depth: int,
    steps: int,
    seeds: Sequence[int],
    arms: Sequence[str] = tuple(ARMS),
    texts: int = TEXTS,
) -> list[dict[str, Any]]:
    """Take the runs that are missing, a seed of every arm before the next seed; a row for each run that is done."""
    _same_question(into, {"depth": depth, "steps": steps, "texts": texts, "text": data.held_out.source})
    asked = questions(data.held_out, data.tokenizer, count=texts, tokens_max=TEXT_TOKENS_MAX, ratio=RATIO)
    wanted = [(arm, seed) for seed in seeds for arm in arms]
    rows = []
    for number, (arm, seed) in enumerate(wanted, 1):
        place = into / f"{arm}-{seed}" / "row.json"
        if not place.exists():
            print(f"· run {number} of {len(wanted)}: {arm}, seed {seed}", file=sys.stderr, flush=True)
            row = walked(data, place.parent, arm, seed, depth, steps, asked)
            atomic.write(place, json.dumps(row, indent=2).encode())
        rows.append(json.loads(place.read_text()))
    return rows


def walked(
    data: Prepared, folder: Path, arm: str, seed: int, depth: int, steps: int, asked: Sequence[Question]
) -> dict[str, Any]:
    """One run, begun or gone on with, and what it has learned."""
    began, tokenizer, chosen = time.monotonic(), data.tokenizer, sizes(depth)
    objective = BlankInfilling(specials=tokenizer.specials, ends=tokenizer.ends, config=ARMS[arm])
    train, held_out = (
        Batches(shards, objective, length=LENGTH, rows=ROWS, seed=seed, pad=tokenizer.specials.pad)
        for shards, seed in ((data.train, seed), (data.held_out, 0))
    )
    plan = chosen.plan(steps, dtype="float32", save_every=max(1, steps // 10), keep=1)
    model = fresh(chosen, seed, len(tokenizer))
    run = Run(model, train, plan, folder, [held_out[number] for number in range(HELD_OUT_BATCHES)])
    begun = run.step
    run.walk()
    return {
        "arm": arm,
        "seed": seed,
        "figures": measured(model.eval(), ARMS[arm], tokenizer, asked),
        "depth": depth,
        "plan": asdict(plan),
        "blanks": asdict(ARMS[arm]),
        "took_s": round(time.monotonic() - began, 1),
        "from_step": begun,
    }


def measured(model: Glm, arm: Blanks, tokenizer: Tokenizer, asked: Sequence[Question]) -> dict[str, float]:
    """An arm's figures; one that it cannot have is left out."""
    found = {"nats": nats(model, [blanked(question, arm, tokenizer) for question in asked], tokenizer.specials)}
    if arm.masked_lm:
        told = score(asked, filled_at_once(model, arm, tokenizer, asked))
        return {**found, "exact": told.exact, "characters_right": told.characters_right}
    fill = partial(fill_blanks, model, tokenizer, asked, bidirectional=arm.layout.bidirectional, two_d=arm.layout.two_d)
    told, free = score(asked, fill(lengths_told=True)), score(asked, fill())
    return {
        **found,
        "exact": told.exact,
        "characters_right": told.characters_right,
        "exact_own_length": free.exact,
        "continuing": nats(model, [halved(question, arm, tokenizer) for question in asked], tokenizer.specials),
    }


def blanked(question: Question, arm: Blanks, tokenizer: Tokenizer) -> Row:
    """A question as the arm reads it, its spans from left to right."""
    text, spans = question.laid(tokenizer.encode)
    specials, layout = tokenizer.specials, replace(arm.layout, shuffle=False)
    if arm.masked_lm:
        return masked(text, spans, specials)
    return infilled(text, spans, specials.mask, "token", layout, specials, np.random.default_rng(0))


def halved(question: Question, arm: Blanks, tokenizer: Tokenizer) -> Row:
    """The question's whole text, its second half to be written."""
    text, _ = question.laid(tokenizer.encode)
    mark = tokenizer.specials.gmask if arm.task_mask else tokenizer.specials.mask
    return continued(text, len(text) // 2, mark, arm.layout, tokenizer.specials)


@torch.no_grad()
def nats(model: Glm, rows: Sequence[Row], specials: Specials) -> float:
    """Of a target that is text, where only text is a candidate."""
    marks = _marks(specials)
    total, count = 0.0, 0
    for first in range(0, len(rows), ROWS):
        batch = stacked(list(rows[first : first + ROWS]), specials.pad)
        at = (batch.weights > 0) & ~torch.isin(batch.targets, marks)
        logits = model.logits(model.hidden(batch.tokens, batch.positions, batch.mask())[at]).float()
        said = torch.nn.functional.cross_entropy(
            logits.index_fill(-1, marks, float("-inf")), batch.targets[at], reduction="sum"
        )
        total, count = total + float(said), count + int(at.sum())
    return total / count


@torch.no_grad()
def filled_at_once(model: Glm, arm: Blanks, tokenizer: Tokenizer, asked: Sequence[Question]) -> list[list[str]]:
    """BERT's way: the likeliest token at every place, whatever it is at the others."""
    marks = _marks(tokenizer.specials)
    found: list[list[str]] = []
    for first in range(0, len(asked), ROWS):
        part = asked[first : first + ROWS]
        batch = stacked([blanked(question, arm, tokenizer) for question in part], tokenizer.specials.pad)
        logits = model.logits(model.hidden(batch.tokens, batch.positions, batch.mask()))
        guesses = logits.index_fill(-1, marks, float("-inf")).argmax(-1).tolist()
        for question, guess in zip(part, guesses, strict=True):
            _, spans = question.laid(tokenizer.encode)
            found.append([tokenizer.decode(guess[start:end], marks=False) for start, end in spans])
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: each arm's mean and standard deviation over its seeds, and how far it is from GLM, seed by seed."""
    head = ["arm", "seeds", *FIGURES.values()]
    body = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        body.append([arm, str(len(mine)), *(_cell(_values(mine, figure), "") for figure in FIGURES)])
        theirs = {row["seed"]: row for row in rows if row["arm"] == "glm"}
        pairs = [(row["figures"], theirs[row["seed"]]["figures"]) for row in mine if row["seed"] in theirs]
        if arm != "glm" and pairs:
            apart = [
                _cell([one[figure] - other[figure] for one, other in pairs if figure in one], "+") for figure in FIGURES
            ]
            body.append([f"{arm} − glm", str(len(pairs)), *apart])
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])


def drawn(rows: Sequence[Mapping[str, Any]], into: Path) -> None:
    """``loss.svg``: the first seed's curves. A drawing for each figure: every seed of every arm."""
    first = [into / f"{row['arm']}-{row['seed']}" for row in rows if row["seed"] == rows[0]["seed"]]
    found = [curve for folder in first for curve in curves(folder)]
    atomic.write(into / "loss.svg", lines(found, x="step (dotted: held out)", y="loss (nats a target)").encode())
    for figure, title in FIGURES.items():
        values = {arm: _values([row for row in rows if row["arm"] == arm], figure) for arm in ARMS}
        if known := {arm: found for arm, found in values.items() if found}:
            atomic.write(into / f"{figure}.svg", spreads(known, y=title).encode())


def _values(rows: Sequence[Mapping[str, Any]], figure: str) -> list[float]:
    return [row["figures"][figure] for row in rows if figure in row["figures"]]


def _cell(values: Sequence[float], sign: str) -> str:
    if not values:
        return "–"
    middle, width = mean_and_deviation(values)
    return f"{middle:{sign}.4f}" + (f" ± {width:.4f}" if len(values) > 1 else "")


def _marks(specials: Specials) -> torch.Tensor:
    return torch.tensor([specials.mask, specials.gmask, specials.smask, specials.sop, specials.eop, specials.eos])


def _same_question(into: Path, asked: dict[str, Any]) -> None:
    note = into / "asked.json"
    if note.exists() and (was := json.loads(note.read_text())) != asked:
        changed = ", ".join(name for name in asked if was.get(name) != asked[name])
        raise Refused(f"{changed}: {into.name} was begun with others", hint="Take the old values, or another folder.")
    atomic.write(note, json.dumps(asked).encode())


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--into", type=Path, required=True)
    asked.add_argument("--depth", type=int, default=4)
    asked.add_argument("--steps", type=int, default=900)
    asked.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    asked.add_argument("--texts", type=int, default=TEXTS)
    told = asked.parse_args()
    try:
        data = prepare(["chinese-poetry"], told.into / "data", kind="characters", size=VOCABULARY)
        how = {"depth": told.depth, "steps": told.steps, "seeds": told.seeds, "arms": told.arms, "texts": told.texts}
        rows = ablations(data, told.into, **how)
    except Refused as refused:
        sys.exit(str(refused))
    drawn(rows, told.into)
    atomic.write(told.into / "table.md", f"{table(rows)}\n".encode())
    print(table(rows))


if __name__ == "__main__":
    main()
