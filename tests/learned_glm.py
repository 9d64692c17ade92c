"""A classic GLM that has learned the texts of ``learned_texts.py`` by heart in a few seconds, as a checkpoint folder.

Its tokens are bytes, so that a Chinese character is three of them. It needs torch; who has none does not import it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from learned_texts import CODE, CODE_FILLED, CODE_REST, GAPS, GAPS_FILLED, POEM, POEM_REST
from openglm.checkpoint.folder import save
from openglm.data.batches import stacked
from openglm.data.parts_ab import Layout, continued, infilled
from openglm.data.rows import Row
from openglm.data.tokenizer import Tokenizer, train_bpe
from openglm.models.glm import Glm, GlmConfig

CONTEXT = 4096


def learned(folder: Path) -> Path:
    """Train it and write it to ``folder``, which must not exist."""
    torch.set_num_threads(1)
    tokenizer = train_bpe([POEM + POEM_REST], 256 + 38)
    model = Glm(
        GlmConfig(
            num_layers=2, hidden_size=64, num_attention_heads=4, vocab_size=len(tokenizer), max_sequence_length=CONTEXT
        )
    )
    model.initialise(torch.Generator().manual_seed(0))
    batch = stacked(_rows(tokenizer), tokenizer.specials.pad)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        logits = model(batch.tokens, batch.positions, batch.mask())
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
        ((loss * batch.weights.flatten()).sum() / batch.weights.sum()).backward()
        optimiser.step()
        optimiser.zero_grad()
    save(model, folder)
    tokenizer.save(folder / "tokenizer.json")
    return folder


def _rows(tokenizer: Tokenizer) -> list[Row]:
    specials, layout, rng = tokenizer.specials, Layout(length_max=CONTEXT, shuffle=False), np.random.default_rng(0)
    poem = np.array([*tokenizer.encode(POEM + POEM_REST), specials.eos])
    rest = continued(poem, len(tokenizer.encode(POEM)), specials.gmask, layout, specials)

    def gaps(parts: list[str], blanks: list[str]) -> Row:
        """``parts`` with ``blanks`` between them."""
        text, spans = tokenizer.encode(parts[0]), []
        for blank, part in zip(blanks, parts[1:], strict=True):
            start = len(text)
            text += tokenizer.encode(blank)
            spans.append((start, len(text)))
            text += tokenizer.encode(part)
        return infilled(np.array(text), spans, specials.mask, "token", layout, specials, rng)

    return [rest, gaps(GAPS.split("[MASK]"), GAPS_FILLED), gaps([CODE, CODE_REST], [CODE_FILLED])]
