"""The trainers that can be launched, by name."""

from __future__ import annotations

from openglm.tune.launch import llama_factory, ms_swift
from openglm.tune.launch.trainer import Trainer

TRAINERS: dict[str, Trainer] = {"ms-swift": ms_swift, "llama-factory": llama_factory}
