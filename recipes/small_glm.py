"""The small GLM that comes with openmaas: classical Chinese poetry and Python, one model of four layers.

    python recipes/small_glm.py --into data/small-glm                 # an hour on two cores; call it again to go on
    python recipes/small_glm.py --into data/small-glm --depth 2 --steps 200

It continues a poem or a program (completions) and fills a gap between two texts (completions with ``suffix``): half of
the documents are shown with their middle moved to the end, in both orders of the marks. It is the architecture of
GLM-4-0414, so llama.cpp runs it. From top to bottom: data, model, training, and the files that are served.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from openglm.checkpoint import folder as checkpoint
from openglm.data.batches import Batches, FillInTheMiddle
from openglm.data.fim import Middles
from openglm.data.prepare import prepare
from openglm.export import llama
from openglm.models.glm4_0414 import Glm4Sandwich
from openglm.train.dial import sizes
from openglm.train.loop import Run

CORPORA = ("chinese-poetry", "python-library")
VOCABULARY = 8192
LENGTH, ROWS = 256, 16
HELD_OUT_BATCHES = 8
CARD = llama.Card(
    name="openglm-small",
    licence="Apache-2.0",
    about="A GLM of four layers, trained on classical Chinese poetry (public domain) and Python's library (PSF).",
)


def small_glm(
    into: Path,
    depth: int = 4,
    steps: int = 5000,
    seed: int = 1,
    corpora: Sequence[str] = CORPORA,
    vocabulary: int = VOCABULARY,
) -> Path:
    """Train, or go on with it; returns the GGUF file. The checkpoint lies beside it, in ``model``."""
    data = prepare(list(corpora), into / "data", kind="bpe", size=vocabulary)
    tokenizer = data.tokenizer
    objective = FillInTheMiddle(
        specials=tokenizer.specials,
        encode=tokenizer.encode,
        decode=tokenizer.decode,
        config=Middles(fim_rate=0.5, spm_rate=0.5),
    )

    chosen = sizes(depth)
    print(chosen.told(vocabulary))
    model = Glm4Sandwich(
        Glm4Sandwich.CONFIG(
            vocab_size=vocabulary,
            hidden_size=chosen.width,
            intermediate_size=chosen.inner,
            num_hidden_layers=chosen.depth,
            num_attention_heads=chosen.heads,
            num_key_value_heads=chosen.kv_heads,
            head_dim=chosen.width // chosen.heads,
            rms_norm_eps=1e-5,
            attention_bias=False,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
    )
    model.initialise(torch.Generator().manual_seed(seed))

    def batches(shards: object, seed: int) -> Batches:
        return Batches(shards, objective, length=LENGTH, rows=ROWS, seed=seed, pad=tokenizer.specials.pad)

    held_out = batches(data.held_out, 0)
    plan = chosen.plan(steps)
    Run(model, batches(data.train, seed), plan, into / "run", [held_out[k] for k in range(HELD_OUT_BATCHES)]).walk()

    made = into / "model"
    if not made.exists():
        checkpoint.save(model, made)
        tokenizer.save(made / "tokenizer.json")
    file = into / "small-glm.gguf"
    llama.write(model, tokenizer, file, "Q8_0", CARD)
    return file


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--into", type=Path, required=True)
    asked.add_argument("--depth", type=int, default=4)
    asked.add_argument("--steps", type=int, default=5000)
    asked.add_argument("--seed", type=int, default=1)
    told = asked.parse_args()
    print(small_glm(told.into, told.depth, told.steps, told.seed))
