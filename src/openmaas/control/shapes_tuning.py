"""What a fine-tuning job is asked with, on OpenAI's wire and on Zhipu's: one body, and what may stand in it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from openmaas.control.batches import check_metadata
from openmaas.control.shapes import Text
from openmaas.core.bounds import (
    TEXT_BYTES_MAX,
    TUNING_BATCH_MAX,
    TUNING_BETA_MAX,
    TUNING_EPOCHS_MAX,
    TUNING_RATE_MAX,
    TUNING_SUFFIX_MAX,
)
from openmaas.core.errors import FieldInvalid
from openmaas.work.wanted import Method

#: What a trainer may be told, by method: whole numbers or not, and the most.
NUMBERS: dict[str, tuple[bool, int]] = {
    "n_epochs": (True, TUNING_EPOCHS_MAX),
    "batch_size": (True, TUNING_BATCH_MAX),
    "learning_rate_multiplier": (False, TUNING_RATE_MAX),
}
OF_METHOD: dict[Method, dict[str, tuple[bool, int]]] = {
    "supervised": NUMBERS,
    "dpo": {**NUMBERS, "beta": (False, TUNING_BETA_MAX)},
}


class How(BaseModel):
    """What a method is told."""

    hyperparameters: dict[Text, Any] | None = None


class NewMethod(BaseModel):
    """How a model is to be tuned."""

    type: Text
    supervised: How | None = None
    dpo: How | None = None


class NewTuning(BaseModel):
    """A job to begin. Members that are not known are left alone, as on these wires everywhere."""

    model: Text
    training_file: Text
    validation_file: Text | None = None
    method: NewMethod | None = None
    hyperparameters: dict[Text, Any] | None = None  # as before there was ``method``, and on Zhipu's wire
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    suffix: Annotated[Text, Field(max_length=TUNING_SUFFIX_MAX)] | None = None
    integrations: list[dict[str, Any]] | None = None
    metadata: dict[Text, Text] | None = None
    request_id: Text | int | float | None = None


def check_rest(body: NewTuning) -> None:
    """All that is neither the method nor a name of something. Raises ``FieldInvalid``."""
    if body.integrations:
        kind = body.integrations[0].get("type", "such")
        raise FieldInvalid(f"integrations: {kind!r:.40} is not offered on this installation", field="integrations")
    check_metadata(body.metadata)
    if len(str(body.request_id)) > TEXT_BYTES_MAX:
        raise FieldInvalid(f"request_id may have {TEXT_BYTES_MAX} characters", field="request_id")


def method_of(body: NewTuning) -> tuple[Method, dict[str, int | float]]:
    """The method and what it is told; what is ``auto`` is left out. Raises ``FieldInvalid``."""
    if body.method is None:
        return "supervised", _numbers(body.hyperparameters, "supervised", "hyperparameters")
    kind = next((name for name in OF_METHOD if name == body.method.type), None)
    if kind is None:
        known = ", ".join(OF_METHOD)
        raise FieldInvalid(f"method.type must be one of {known}; {body.method.type!r:.40} is not", field="method.type")
    if body.hyperparameters:
        raise FieldInvalid("hyperparameters stand in method or beside it, not in both", field="hyperparameters")
    how = {"supervised": body.method.supervised, "dpo": body.method.dpo}[kind]
    return kind, _numbers(how.hyperparameters if how else None, kind, f"method.{kind}.hyperparameters")


def _numbers(told: dict[str, Any] | None, method: Method, field: str) -> dict[str, int | float]:
    allowed, found = OF_METHOD[method], {}
    for name, value in (told or {}).items():
        if name not in allowed:
            known = ", ".join(allowed)
            raise FieldInvalid(f"{field} may have {known}, not {name!r:.40}", field=f"{field}.{name}"[:TEXT_BYTES_MAX])
        if value is None or value == "auto":
            continue
        whole, most = allowed[name]
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= most:
            said = f"{field}.{name} must be auto or a {'whole ' if whole else ''}number above 0, up to {most}"
            raise FieldInvalid(said, field=f"{field}.{name}")
        found[name] = value
    return found
