"""A stand-in for ms-swift and LLaMA-Factory, which no test machine has: it plays a log that one of them wrote.

    trainer_replay.py LOG sft|rlhf|train CONFIG

It reads the configuration that the real one is started with, appends the log line by line, and leaves a checkpoint
after each step. Of its own it has two options: ``pace_s`` between lines, and ``breaks_at``, the step after which it
leaves once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


def checkpoint(config: dict[str, Any], step: int) -> None:
    base = Path(config.get("model") or config["model_name_or_path"])
    folder = Path(config["output_dir"]) / f"checkpoint-{step}"
    folder.mkdir()
    if "lora_rank" in config:
        rank, weights = config["lora_rank"], {}
        for name, weight in load_file(base / "model.safetensors").items():
            if name.endswith(("q_proj.weight", "v_proj.weight")):
                place = f"base_model.model.{name.removesuffix('.weight')}"
                weights[f"{place}.lora_A.weight"] = np.full((rank, weight.shape[1]), 0.01, np.float32)
                weights[f"{place}.lora_B.weight"] = np.full((weight.shape[0], rank), 0.01 * step, np.float32)
        save_file(weights, folder / "adapter_model.safetensors")
        told = {"r": rank, "lora_alpha": config["lora_alpha"], "target_modules": ["q_proj", "v_proj"], "bias": "none"}
        (folder / "adapter_config.json").write_text(json.dumps(told | {"modules_to_save": []}))
    else:
        for name in ("model.safetensors", "config.json"):
            shutil.copyfile(base / name, folder / name)
    (folder / "trainer_state.json").write_text("{}")


def main(log: Path, config: dict[str, Any]) -> int:
    output = Path(config["output_dir"])
    output.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(["sleep", "600"])  # as a data loader: only its group knows of it
    (output / "pids").write_text(f"{child.pid}")
    done = max((int(path.name.partition("-")[2]) for path in output.glob("checkpoint-*")), default=0)
    with (output / log_name(log)).open("a", buffering=1) as file:
        for line in log.read_text().splitlines(keepends=True):
            told = json.loads(line)
            step = told.get("current_steps") or int(told.get("global_step/max_steps", "0").partition("/")[0])
            if step and step <= done:
                continue
            file.write(line)
            if "loss" in told:
                checkpoint(config, step)
                if step == config.get("breaks_at") and not done:
                    return 1
            time.sleep(config.get("pace_s", 0))
    return 0


def log_name(log: Path) -> str:
    return "logging.jsonl" if log.name.startswith("ms-swift") else "trainer_log.jsonl"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(Path(sys.argv[3]).read_text())))
