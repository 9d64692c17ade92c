"""LLaMA-Factory (``llamafactory-cli train``), as of 0.9.5.

Examples come rendered, for its template ``empty``, which adds nothing. It goes on from the last checkpoint in
``output_dir`` by itself. Of the accuracy of tokens its log says nothing.

https://llamafactory.readthedocs.io/en/latest/advanced/arguments.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openglm.tune.launch import trainer
from openglm.tune.launch.trainer import Heard, Work

COMMAND: tuple[str, ...] = ("llamafactory-cli",)
LOG = "trainer_log.jsonl"
KEPT = trainer.KEPT | {"model_name_or_path", "dataset_dir", "dataset", "template", "finetuning_type", "stage"}


def words(work: Work) -> tuple[str, ...]:
    """See ``Trainer``."""
    return "train", str(work.config)


def config(work: Work) -> dict[str, Any]:
    """See ``Trainer``."""
    told = work.common() | {
        "model_name_or_path": str(work.base),
        "stage": "dpo" if work.method == "dpo" else "sft",
        "do_train": True,
        "dataset_dir": str(_index(work).parent),
        "dataset": "training",
        "template": "empty",
        "cutoff_len": work.length + 1,  # it leaves out what is as long as that
        "finetuning_type": "lora" if work.rank else "full",
        "overwrite_cache": True,
    }
    if work.held_out:
        told["eval_dataset"] = "validation"
    if work.rank:
        told |= {"lora_rank": work.rank, "lora_alpha": round(work.alpha), "lora_dropout": 0.0, "lora_target": "all"}
    if work.method == "dpo":
        told |= {"pref_loss": "sigmoid", "pref_beta": work.beta}
    return told


def files(work: Work) -> dict[Path, str]:
    """See ``Trainer``."""
    answers = {"chosen": "chosen", "rejected": "rejected"} if work.method == "dpo" else {"response": "output"}
    columns = {"prompt": "instruction", **answers}
    told = {
        name: {"file_name": work.examples(name).name, "ranking": work.method == "dpo", "columns": columns}
        for name in ("training", *(["validation"] if work.held_out else []))
    }
    return {_index(work): json.dumps(told, indent=2)}


def example(texts: Sequence[str]) -> dict[str, Any]:
    """See ``Trainer``."""
    names = ("instruction", "output") if len(texts) == 2 else ("instruction", "chosen", "rejected")
    return dict(zip(names, texts, strict=True))


def hear(line: Mapping[str, Any]) -> Heard | None:
    """See ``Trainer``."""
    for name, event in (("loss", ""), ("eval_loss", "held_out")):
        if name in line:
            figures = line[name], line.get("accuracy"), line.get("lr", 0.0)
            return Heard(line["current_steps"], line["total_steps"], *figures, event)
    return None


def _index(work: Work) -> Path:
    return work.examples("training").with_name("dataset_info.json")
