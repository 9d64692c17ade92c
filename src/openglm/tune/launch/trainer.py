"""What a trainer of somebody else's is to us: a configuration that it is started with, a log that it writes.

The modules ``ms_swift`` and ``llama_factory`` each are one: pure functions that know the names of options and figures.
Both stand on transformers' ``Trainer``, so that checkpoints of both are ``checkpoint-<step>`` in ``output``. ``run.py``
starts and follows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openglm.tune.examples import Method

#: Of transformers' ``TrainingArguments``: see ``Trainer.KEPT``.
KEPT = frozenset({"output_dir", "num_train_epochs", "max_steps", "logging_steps", "resume_from_checkpoint"})


@dataclass(frozen=True)
class Work:
    """What is to be trained, in numbers that are chosen. All files of it lie in ``folder``; ``length`` is the longest
    row's, in tokens; ``accumulated`` are the micro-batches of one row (or pair) that a process takes for a step."""

    folder: Path
    base: Path
    method: Method
    rank: int
    alpha: float
    beta: float
    epochs: int
    accumulated: int
    rate: float
    steps: int
    length: int
    seed: int
    bfloat16: bool
    held_out: bool

    @property
    def output(self) -> Path:
        """Where the trainer writes its checkpoints and its log."""
        return self.folder / "trainer"

    @property
    def config(self) -> Path:
        """JSON, which is YAML too: both trainers read it by this ending."""
        return self.folder / "trainer.yaml"

    def examples(self, name: str) -> Path:
        """The file of examples for ``training`` or ``validation``."""
        return self.folder / "examples" / f"{name}.jsonl"

    def checkpoints(self) -> dict[int, Path]:
        """By step, those that are whole: the state is the last file of one."""
        found = {int(path.name.partition("-")[2]): path for path in self.output.glob("checkpoint-*[0-9]")}
        return {step: found[step] for step in sorted(found) if (found[step] / "trainer_state.json").exists()}

    def common(self) -> dict[str, Any]:
        """The options of transformers' ``TrainingArguments``, by which both trainers know them."""
        return {
            "output_dir": str(self.output),
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": 1,
            "gradient_accumulation_steps": self.accumulated,
            "learning_rate": self.rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": min(100, self.steps // 10),
            "weight_decay": 0.0,
            "seed": self.seed,
            "data_seed": self.seed,
            "bf16": self.bfloat16,
            "logging_steps": 1,
            "save_strategy": "steps",
            "save_steps": max(1, min(50, self.steps // 10)),
            "save_total_limit": 2,
            "eval_strategy": "epoch" if self.held_out else "no",
            "report_to": "none",
        }


@dataclass(frozen=True)
class Heard:
    """A line of a trainer's log: what a step was like, or with ``event`` what was measured on held-out examples.
    ``steps`` are those of the whole run; the accuracy is of tokens, for ``dpo`` of pairs, and not every trainer tells
    it."""

    step: int
    steps: int
    loss: float
    accuracy: float | None = None
    rate: float = 0.0
    event: str = ""


class Trainer(Protocol):
    """``COMMAND`` starts it where it is installed; ``LOG`` is its file in ``Work.output``, a line of JSON each time;
    ``KEPT`` are the options that nobody may change: by these its work is found and paid for."""

    COMMAND: tuple[str, ...]
    LOG: str
    KEPT: frozenset[str]

    def words(self, work: Work) -> tuple[str, ...]:
        """What follows the command."""

    def config(self, work: Work) -> dict[str, Any]:
        """Its options."""

    def files(self, work: Work) -> dict[Path, str]:
        """What it reads beside its options and examples."""

    def example(self, texts: Sequence[str]) -> dict[str, Any]:
        """A line of its examples: of a prompt and an answer, or of a prompt, a better and a worse answer."""

    def hear(self, line: Mapping[str, Any]) -> Heard | None:
        """What a line of its log says, if that is of a step."""
