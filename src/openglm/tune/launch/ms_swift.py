"""ms-swift (``swift sft``, ``swift rlhf --rlhf_type dpo``), as of 4.6.

Its templates are not used: examples come rendered, and a plugin registers a template that adds nothing.

https://swift.readthedocs.io/en/latest/Instruction/Command-line-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openglm.tune.launch import trainer
from openglm.tune.launch.trainer import Heard, Work

COMMAND: tuple[str, ...] = ("swift",)
LOG = "logging.jsonl"
KEPT = trainer.KEPT | {"model", "dataset", "template", "external_plugins", "add_version", "tuner_type", "rlhf_type"}
TEMPLATE = "rendered"
#: swift's own template without marks ends an answer with the end of the text, which is no end of a turn here.
PLUGIN = f"""from swift.template import TemplateMeta, register_template

register_template(
    TemplateMeta(
        "{TEMPLATE}", prefix=[], prompt=["{{{{QUERY}}}}"], chat_sep=None, suffix=[], auto_add_bos=False
    )
)
"""


def words(work: Work) -> tuple[str, ...]:
    """See ``Trainer``."""
    return "rlhf" if work.method == "dpo" else "sft", str(work.config)


def config(work: Work) -> dict[str, Any]:
    """See ``Trainer``."""
    told = work.common() | {
        "model": str(work.base),
        "dataset": [str(work.examples("training"))],
        "template": TEMPLATE,
        "external_plugins": [str(_plugin(work))],
        "add_version": False,
        "max_length": work.length,
        "strict": True,
        "split_dataset_ratio": 0,
        "tuner_type": "lora" if work.rank else "full",
    }
    if work.held_out:
        told["val_dataset"] = [str(work.examples("validation"))]
    if work.rank:
        told |= {"lora_rank": work.rank, "lora_alpha": work.alpha, "lora_dropout": 0.0, "target_modules": "all-linear"}
    if work.method == "dpo":
        told |= {"rlhf_type": "dpo", "beta": work.beta}
    if kept := work.checkpoints():
        told["resume_from_checkpoint"] = str(kept[max(kept)])
    return told


def files(work: Work) -> dict[Path, str]:
    """See ``Trainer``."""
    return {_plugin(work): PLUGIN}


def example(texts: Sequence[str]) -> dict[str, Any]:
    """See ``Trainer``."""
    prompt, answer, *worse = texts
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **({"rejected_response": worse[0]} if worse else {})}


def hear(line: Mapping[str, Any]) -> Heard | None:
    """See ``Trainer``. Of ``12/96`` steps."""
    if "global_step/max_steps" not in line:
        return None
    step, steps = map(int, line["global_step/max_steps"].split("/"))
    for before, event in (("", ""), ("eval_", "held_out")):
        if f"{before}loss" in line:
            accuracy = line.get(f"{before}token_acc", line.get(f"{before}rewards/accuracies"))
            return Heard(step, steps, line[f"{before}loss"], accuracy, line.get("learning_rate", 0.0), event)
    return None


def _plugin(work: Work) -> Path:
    return work.folder / "rendered.py"
