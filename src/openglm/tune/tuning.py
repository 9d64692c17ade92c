"""A tuning from its order to a model that is served; read this first.

    1 read      the files' lines        → rows          examples
    2 put       rows in their order     → Lessons       lessons
    3 load      the base, and adapters  → a model       checkpoint, lora
    4 learn     step by step            → log.jsonl     train.loop.Run, or another trainer: launch.run
    5 keep      adapter, model, GGUF    → folders       lora, checkpoint, export

Everything lies in the order's folder and is there whole or not at all, so that the same order given again goes on where
it was cut off, and does nothing once it is done:

    counted.json     how many tokens and steps it will be    (step 2; before any weight is loaded)
    run/             plan.json, log.jsonl, checkpoints/      (step 4)
    adapter/         as peft lays it, when there is a rank   (step 5)
    model/           the published layout, adapters merged
    model.gguf       for llama.cpp; adapter.gguf the adapter alone
    done.json        the last thing that is written

Of another trainer's work ``gguf: false`` keeps the adapter or the model alone: then no weight is ever loaded here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch

from openglm.bounds import GGUF_BYTES_WHOLE_MAX
from openglm.chat import known, render
from openglm.checkpoint import folder as checkpoint
from openglm.checkpoint.safetensors_folder import read_json
from openglm.data import atomic
from openglm.data.rows import Row
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.export import adapter, llama
from openglm.models.registry import model_class
from openglm.train.loop import Diverged, Run
from openglm.train.loss import loss_of
from openglm.train.plan import Plan
from openglm.tune import lora
from openglm.tune.examples import Reader, thinks
from openglm.tune.launch import run as launch
from openglm.tune.launch.trainer import Work
from openglm.tune.launch.trainers import TRAINERS
from openglm.tune.lessons import Lessons, units_of
from openglm.tune.order import OWN, Order
from openglm.tune.preference import Preference, reference_of

#: What lies beside the weights and belongs to the model.
BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
TEMPLATE = "chat_template.jinja"
ADAPTER = "adapter.gguf"
SILENT = "{%- set enable_thinking = false -%}\n"  # before the family's template
BETA = 0.1
#: Models above so many parameters compute in bfloat16: below, float32 is as fast and needs no care.
FLOAT32_PARAMETERS_MAX = 50_000_000
#: Family of the chat template by ``model_type``, where a checkpoint's own is missing or writes as none of ours.
TYPES: dict[str, render.Family] = {"glm4_moe": "glm-4.5", "glm4_moe_lite": "glm-4.7"}


class Failed(Exception):  # noqa: N818 - named for what happened, as all errors here are
    """The order cannot be done: which of its members is wrong, and why."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


@dataclass
class Tuning:
    """One order, with its files read."""

    order: Order

    def __post_init__(self) -> None:
        """Steps 1 and 2. Raises ``Failed``."""
        order = self.order
        with _naming("model"):
            if (order.base / "adapter_config.json").exists():
                raise Refused(f"{order.base.name} is an adapter alone", hint="Tune the model that it was made of.")
            self.fields = read_json(order.base / "config.json")
            self.config: Any = model_class(self.fields).CONFIG.from_json(self.fields)
            self.tokenizer = Tokenizer.load(order.base / "tokenizer.json")
            self.family = family_of(order.base, self.fields)
            if order.gguf:
                llama.check(self.config, self.tokenizer)
            self.reader = Reader(self.tokenizer, self.family, _context(self.config))
        with _naming("training_file"):
            self.lessons = self._lessons(self.reader.rows(order.training, order.method))
        self.held_out: Lessons | None = None
        if order.validation is not None:
            with _naming("validation_file"):
                self.held_out = self._lessons(self.reader.rows(order.validation, order.method))
        self.work = None if order.trainer == OWN else self._work()
        told = {
            "tokens": self.lessons.tokens,
            "steps": self.work.steps if self.work else self.lessons.steps,
            "n_epochs": self.lessons.epochs,
            "batch_size": self.work.accumulated * order.processes if self.work else self.lessons.batch,
            "units": len(self.lessons.units),
        }
        _write(order.into / "counted.json", told)

    def walk(self) -> None:
        """Steps 3 to 5. Raises ``Failed``, and ``CutOff`` of another trainer."""
        if (self.order.into / "done.json").exists():
            return
        if self.work is None:
            model, dtype = _loaded(self.order.base)
            self._learn(model)
            beside = self._lora if self.order.rank else None
        else:
            with _naming("model"):
                last = self._launch(self.work)
                if not self.order.gguf:
                    self._publish(last)
                    return
                model, dtype = _loaded(self.order.base if self.order.rank else last)
                beside = lora.load(model, last) if self.order.rank else None
        self._keep(model.eval(), dtype, beside)

    def _work(self) -> Work:
        """What another trainer is to do. It begins each epoch with a step of its own."""
        order, lessons = self.order, self.lessons
        rows = [row for part in (lessons, self.held_out) if part for unit in part.units for row in unit]
        accumulated = ceil(lessons.batch / order.processes)
        return Work(
            folder=order.into / "run",
            base=order.base,
            method=order.method,
            rank=order.rank,
            alpha=self._alpha,
            beta=order.beta or BETA,
            epochs=lessons.epochs,
            accumulated=accumulated,
            rate=order.rate(self.config.hidden_size),
            steps=lessons.epochs * ceil(ceil(len(lessons.units) / order.processes) / accumulated),
            length=max(len(row.tokens) + 1 for row in rows),
            seed=order.seed,
            bfloat16="bfloat16" in (self.fields.get("torch_dtype"), self.fields.get("dtype")),
            held_out=self.held_out is not None,
        )

    def _launch(self, work: Work) -> Path:
        """Step 4 by another trainer: the checkpoint of its last step."""
        order = self.order
        paths = {"training": order.training} | ({"validation": order.validation} if order.validation else {})
        texts = {name: self.reader.texts(path, order.method) for name, path in paths.items()}
        trainer = TRAINERS[order.trainer]
        return launch.train(work, trainer, order.command, order.arguments, texts, self.lessons.tokens)

    def _publish(self, last: Path) -> None:
        """Step 5 of what is too large to be loaded here: the adapter as it is, or the model."""
        into, name = self.order.into, "adapter" if self.order.rank else "model"
        shutil.rmtree(into / name, ignore_errors=True)
        (into / name).mkdir()
        for path in [*last.glob("*.safetensors"), *last.glob("*.safetensors.index.json"), *last.glob("*config.json")]:
            shutil.copyfile(path, into / name / path.name)
        self._accompany(into / name)
        told = {"model": None, "adapter": None, "gguf": None} | {name: name}
        _write(into / "done.json", told)

    def _learn(self, model: Any) -> None:
        order, dpo = self.order, self.order.method == "dpo"
        torch.manual_seed(order.seed)  # of what adapters begin with
        for part in (self.lessons, self.held_out):
            if dpo and part is not None:
                part.reference = reference_of(model, part.all_of())
        still = self._still()
        if order.rank:
            lora.attach(model, self._lora, still)
        for name in still:
            model.get_submodule(name.removesuffix(".")).requires_grad_(False)
        lessons = self.lessons
        run = Run(
            model,
            lessons,
            self._plan(model),
            order.into / "run",
            held_out=self.held_out.all_of() if self.held_out else (),
            loss=Preference(order.beta or BETA) if dpo else loss_of,
            told=lambda step: {"trained_tokens": lessons.tokens_after(step)},
        )
        try:
            run.walk()
        except Diverged as error:
            raise Failed("learning_rate_multiplier", str(error)) from None

    def _plan(self, model: Any) -> Plan:
        steps = self.lessons.steps
        wide = sum(weight.numel() for weight in model.parameters()) > FLOAT32_PARAMETERS_MAX
        return Plan(
            steps=steps,
            micro_batches=self.lessons.micro_batches,
            lr=self.order.rate(self.config.hidden_size),
            weight_decay=0.0,
            warmup=min(100, steps // 10),
            dtype="bfloat16" if wide else "float32",
            mtp_weight=self._mtp_weight,
            router_bias_rate=0.0,  # few examples say little about the load
            evaluate_every=-(-steps // self.lessons.epochs) if self.held_out else 0,
            save_every=max(1, min(50, steps // 10)),
        )

    def _keep(self, model: Any, dtype: torch.dtype, beside: lora.Lora | None) -> None:
        into, order, template, laid_over = self.order.into, self.order, self._template(), False
        if beside is not None:
            lora.save(model, beside, into / "adapter")
            if order.gguf:
                pairs = [(name, part.lora_A, part.lora_B) for name, part in lora.adapters(model)]
                thinks = not template.startswith(SILENT)
                if laid_over := not adapter.passed_over(self.config, (name for name, _, _ in pairs)):
                    adapter.write(self.config, pairs, beside.alpha, into / ADAPTER, thinks=thinks)
            lora.merge(model)
        shutil.rmtree(into / "model", ignore_errors=True)
        checkpoint.save(model, into / "model", dtype=dtype)
        self._accompany(into / "model")
        told: dict[str, Any] = {"model": "model", "adapter": "adapter" if order.rank else None, "gguf": None}
        told["over_base"] = None  # a file that makes of the base, where that runs, what this model is
        if order.gguf:
            told["gguf"] = "model.gguf"
            if laid_over and _own_template(order.base).removeprefix(SILENT) == template.removeprefix(SILENT):
                told["over_base"] = ADAPTER
            (into / "model.gguf").unlink(missing_ok=True)
            # Small models lose most by fewer bits, and need them least.
            whole = sum(weight.numel() for weight in model.parameters()) * 2 <= GGUF_BYTES_WHOLE_MAX
            card = llama.Card(name=order.name or order.base.name, chat_template=template)
            llama.write(model, self.tokenizer, into / "model.gguf", "F16" if whole else "Q8_0", card)
        _write(into / "done.json", told)

    def _accompany(self, folder: Path) -> None:
        """Put beside weights what belongs to the model."""
        for name in BESIDE:
            if (self.order.base / name).exists():
                shutil.copyfile(self.order.base / name, folder / name)
        (folder / TEMPLATE).write_text(self._template())

    @property
    def _mtp_weight(self) -> float:
        return self.order.mtp_weight(len(self.config.prediction_prefixes()))

    def _still(self) -> tuple[str, ...]:
        """What the names of layers begin with that learn nothing; the loss asks the first alone for a further token."""
        return tuple(self.config.prediction_prefixes()[1 if self._mtp_weight else 0 :])

    @property
    def _alpha(self) -> float:
        return self.order.alpha or 2.0 * self.order.rank

    @property
    def _lora(self) -> lora.Lora:
        return lora.Lora(self.order.rank, self._alpha)

    def _template(self) -> str:
        """The family's; a model that learned from no thought is never asked for one. Preferences alone do not make one
        forget to think that did."""
        own = _own_template(self.order.base)
        thought = own and not own.startswith(SILENT) and self.order.method == "dpo"
        silent = not thought and not thinks(self.order.training)
        return (SILENT if silent else "") + render.template(self.family)

    def _lessons(self, rows: list[Row]) -> Lessons:
        units = units_of(rows, 2 if self.order.method == "dpo" else 1)
        order = self.order
        return Lessons(units, order.epochs(), order.batch(len(units)), order.seed, self.tokenizer.specials.pad)


def _own_template(base: Path) -> str:
    """The chat template of a checkpoint; empty where it has none. Until 2025 it stood in tokenizer_config.json."""
    if (base / TEMPLATE).exists():
        return (base / TEMPLATE).read_text()
    path = base / "tokenizer_config.json"
    told = read_json(path).get("chat_template") if path.exists() else None
    return told if isinstance(told, str) else ""


def _loaded(where: Path) -> tuple[Any, torch.dtype]:
    """A checkpoint in float32, and what its weights were. Raises ``Failed``."""
    with _naming("model"):
        model = checkpoint.load(where)
    dtype = model.embedding.weight.dtype
    return model.float(), dtype


def family_of(base: Path, fields: dict[str, Any]) -> render.Family:
    """By which template a checkpoint speaks. Raises ``Refused`` for one that is not here."""
    text = _own_template(base).removeprefix(SILENT)
    if family := known.family_of(text):
        return family
    kind = str(fields.get("model_type"))
    if kind in TYPES:
        return TYPES[kind]
    if not text:
        return "glm-4.7"  # a base model has none, and learns this one
    raise Refused(
        f"the chat template of {base.name} writes as none of {', '.join(render.FAMILIES)}",
        hint="Tune the base model of the same size, or add the template's family to chat/render.py.",
    )


def _context(config: Any) -> int:
    """How many tokens the model reads. Raises ``Refused`` for the classic models."""
    for name in ("max_position_embeddings", "seq_length"):
        if hasattr(config, name):
            return int(getattr(config, name))
    raise Refused(
        f"model_type: {config.MODEL_TYPE} fills blanks and holds no conversation",
        hint="Take a model of the modern line: ChatGLM2 and later.",
    )


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """What is refused in here is wrong with this member of the order."""
    try:
        yield
    except (Refused, OSError) as error:
        raise Failed(field, str(error)) from error


def _write(path: Path, told: dict[str, Any]) -> None:
    atomic.write(path, (json.dumps(told, indent=2) + "\n").encode())
