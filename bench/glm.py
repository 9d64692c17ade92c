"""``python -m bench.glm``, a part of ``make bench`` where glm and oracle are installed: a training step beside others.

The same model (a GLM-4 of 30 million parameters, the same weights), the same rows, products in the precision that is
faster on the machine (bf16 or fp32, the same for all), AdamW: by openglm's ``Run``, by transformers' ``Trainer``, by
a plain loop in nanoGPT's way (transformers' model, torch's attention, autocast, nothing else). Steps of all three are
timed on the same cores, rounds alternate, the median counts. MFU is what openglm's step counts of products, beside the
fastest product this machine does alone.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from openglm.checkpoint import folder as checkpoint
from openglm.data.batches import Batch, stacked
from openglm.data.causal import shifted
from openglm.models.glm4 import Glm4, Glm4Config
from openglm.train.loop import Run
from openglm.train.plan import Plan
from openglm.train.speed import fastest, flops, gemm_peak

ROUNDS, STEPS = 3, 3
Precision = Literal["bfloat16", "float32"]
VOCABULARY, WIDTH, LAYERS, HEADS, KV_HEADS, INNER = 8192, 512, 10, 8, 4, 1408
ROWS, LENGTH = 16, 256


class Rows:
    """Batches of random tokens."""

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number``."""
        drawn = np.random.default_rng(number).integers(0, VOCABULARY, (ROWS, LENGTH + 1))
        return stacked([shifted(row) for row in drawn], 0)


def model() -> Glm4:
    """The model that all of them train."""
    made = Glm4(
        Glm4Config(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            head_dim=WIDTH // HEADS,
            rms_norm_eps=1e-5,
            attention_bias=False,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            rest={"pad_token_id": None, "eos_token_id": None},  # transformers' own are outside of this vocabulary
        )
    )
    made.initialise(torch.Generator().manual_seed(1))
    return made


def ours(folder: Path, precision: Precision) -> tuple[Callable[[], None], float]:
    """A step of openglm, and the operations that it does."""
    run = Run(model(), Rows(), Plan(steps=1_000_000, warmup=1, lr=1e-4, dtype=precision), folder / "run")
    run.model.train()
    batch = Rows()[0]
    work = float(flops(lambda: run.backward(batch, batch.count())))

    def step() -> None:
        run.one()
        run.step += 1

    return step, work


def plain(published: Path, precision: Precision) -> Callable[[], None]:
    """A step of a plain loop around transformers' model."""
    from transformers import GlmForCausalLM  # noqa: PLC0415 - an extra

    net = GlmForCausalLM.from_pretrained(published, dtype=torch.float32).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    rows, number = Rows(), iter(range(1_000_000))

    def step() -> None:
        batch = rows[next(number)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(batch.tokens).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def trainer(published: Path, folder: Path, precision: Precision) -> Callable[[], None]:
    """``STEPS`` steps of transformers' Trainer; called once for each round."""
    from transformers import GlmForCausalLM, Trainer, TrainingArguments  # noqa: PLC0415 - an extra

    net = GlmForCausalLM.from_pretrained(published, dtype=torch.float32)
    texts: Any = [
        {"input_ids": row, "labels": row}
        for row in np.random.default_rng(1).integers(0, VOCABULARY, (ROWS * STEPS, LENGTH))
    ]
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=ROWS,
        max_steps=STEPS,
        use_cpu=True,
        bf16=precision == "bfloat16",
        optim="adamw_torch_fused",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )

    def steps() -> None:
        Trainer(model=net, args=arguments, train_dataset=texts).train()

    return steps


def measure(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios, and the figures behind them."""
    published, cpu = folder / "published", torch.device("cpu")
    precision = fastest(cpu)
    checkpoint.save(model(), published)
    step, work = ours(folder, precision)
    plainly, theirs = plain(published, precision), trainer(published, folder, precision)

    def times(one: Callable[[], None]) -> Callable[[], None]:
        def several() -> None:
            for _ in range(STEPS):
                one()

        return several

    runs = {"openglm": times(step), "plain": times(plainly), "trainer": theirs}
    for run in runs.values():
        run()  # once for the warm-up
    took: dict[str, list[float]] = {name: [] for name in runs}
    peaks = []
    for number in range(ROUNDS):
        print(f"· a step of training, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        peaks.append(gemm_peak(getattr(torch, precision), cpu))
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            took[name].append((time.perf_counter() - start) / STEPS)
    seconds = {name: statistics.median(found) for name, found in took.items()}
    peak = statistics.median(peaks)
    ratios = {
        "training_vs_trainer": round(seconds["trainer"] / seconds["openglm"], 3),
        "training_vs_plain": round(seconds["plain"] / seconds["openglm"], 3),
        "training_mfu": round(work / seconds["openglm"] / peak, 3),
    }
    figures = {
        **{f"tokens_per_s_{name}": round(ROWS * LENGTH / taken) for name, taken in seconds.items()},
        "gemm_gflop_per_s": round(peak / 1e9),
        "precision": precision,
        "threads": torch.get_num_threads(),
    }
    return ratios, {"training": figures}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ratios, figures = measure(Path(folder))
    print(json.dumps({"ratios": ratios, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
