"""A classical GLM on classical poetry: blank infilling as in 2021, which fills a missing line and continues a poem.

    python recipes/poetry.py --into data/poetry                       # an hour on two cores; call it again to go on
    openmaas serve --model data/poetry/model                          # the engine of kind glm; then /v1/completions

Characters are tokens. Half of the batches blank short spans ([MASK]), half the rest of a poem or a part of it
([gMASK]). From top to bottom: data, objective, model, training, and a look at what it has learned.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from openglm.checkpoint import folder as checkpoint
from openglm.data.batches import Batches, BlankInfilling
from openglm.data.blanks import Blanks
from openglm.data.parts_ab import Layout
from openglm.data.prepare import prepare
from openglm.models.glm import Glm, GlmConfig
from openglm.models.infill import Marks, infill
from openglm.train.dial import Sizes, sizes
from openglm.train.loop import Run

VOCABULARY = 6144
LENGTH, ROWS = 128, 32
HELD_OUT_BATCHES = 8
POEMS = ["床前明月光，疑是[MASK]。举头望明月，低头思故乡。", "白日依山尽，黄河入海流。[gMASK]"]


def fresh(chosen: Sizes, seed: int, vocabulary: int) -> Glm:
    """A classical GLM of these sizes, as before training."""
    model = Glm(
        GlmConfig(
            num_layers=chosen.depth,
            hidden_size=chosen.width,
            num_attention_heads=chosen.heads,
            vocab_size=vocabulary,
            max_sequence_length=LENGTH,
        )
    )
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def poetry(into: Path, depth: int = 4, steps: int = 5000, seed: int = 1) -> Path:
    """Train, or go on with it; returns the folder of the finished model."""
    data = prepare(["chinese-poetry"], into / "data", kind="characters", size=VOCABULARY)
    tokenizer = data.tokenizer
    config = Blanks(bert_prob=0.5, task_mask=True, layout=Layout(length_max=LENGTH))
    objective = BlankInfilling(specials=tokenizer.specials, ends=tokenizer.ends, config=config)

    chosen = sizes(depth)
    print(chosen.told(VOCABULARY))
    model = fresh(chosen, seed, VOCABULARY)

    def batches(shards: object, seed: int) -> Batches:
        return Batches(shards, objective, length=LENGTH, rows=ROWS, seed=seed, pad=tokenizer.specials.pad)

    held_out = batches(data.held_out, 0)
    plan = chosen.plan(steps)
    Run(model, batches(data.train, seed), plan, into / "run", [held_out[k] for k in range(HELD_OUT_BATCHES)]).walk()

    made = into / "model"
    if not made.exists():
        checkpoint.save(model, made)
        tokenizer.save(made / "tokenizer.json")
    marks = Marks.of(tokenizer.specials)
    for poem in POEMS:
        (filled,) = infill(model.eval(), [tokenizer.encode(poem, marks=True)], marks, span_max=24)
        print(poem, "→", " | ".join(tokenizer.decode(span, marks=False) for span in filled))
    return made


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--into", type=Path, required=True)
    asked.add_argument("--depth", type=int, default=4)
    asked.add_argument("--steps", type=int, default=5000)
    asked.add_argument("--seed", type=int, default=1)
    told = asked.parse_args()
    print(poetry(told.into, told.depth, told.steps, told.seed))
