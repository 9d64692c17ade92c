"""config.json as a frozen value: read strictly, written so that others read it.

Every field of a published config.json is one of three things, and a model's class says which: **obeyed** (a field of
its dataclass, by the same name), **fixed** (obeyed at one value only, because the model is built for that one), or of
no concern to the graph (token ids, bookkeeping; kept in ``rest`` and written back). A fourth is refused by name: a
model that silently ignores a field it would have to obey answers with noise. It does not know layers or tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Self

from openglm.errors import Refused

#: What says nothing about the graph: bookkeeping, token ids, how to generate, and how others compute.
BOOKKEEPING = frozenset(
    """
    _name_or_path apply_query_key_layer_scaling architectures attention_softmax_in_fp32 auto_map bias_dropout_fusion
    bos_token_id dtype ep_size eos_token_id id2label is_decoder label2id max_length model_type moe_router_dtype
    name_or_path output_attentions output_hidden_states output_router_logits pad_token_id pretraining_tp problem_type
    return_dict router_aux_loss_coef task_specific_params tokenizer_class torch_dtype transformers_version use_cache
    """.split()  # noqa: SIM905 - a paragraph of names is read faster than a column of strings
)


#: What a field of this annotation may hold; JSON writes 1e6 as an integer too.
KINDS: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool}


@dataclass(frozen=True, kw_only=True)
class PublishedConfig:
    """What all configurations share. A subclass adds the fields that its model obeys."""

    MODEL_TYPE: ClassVar[str]
    ARCHITECTURE: ClassVar[str]
    #: Fields that are obeyed at one value only; a missing one means that value.
    FIXED: ClassVar[Mapping[str, Any]] = {}

    #: Fields of config.json that do not concern the graph, as they were found.
    rest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The value of a config.json. Raises ``Refused`` naming the field that is missing, unknown or not obeyed."""
        given = cls.translated(_with_flat_rotation(found))
        known = {f.name: f for f in fields(cls) if f.name != "rest"}
        for name, only in cls.FIXED.items():
            value = given.pop(name, only)
            if value not in (only, None):
                raise Refused(
                    f"config.json: {name} is {value!r}, and {cls.__name__} is built for {only!r}",
                    hint="No model here computes the other; convert the checkpoint or use another engine.",
                )
        unknown = sorted(given.keys() - known.keys() - BOOKKEEPING)
        if unknown:
            raise Refused(
                f"config.json: {cls.__name__} does not know {', '.join(unknown)}",
                hint="If it changes what the model computes, this is another architecture; if not, remove it.",
            )
        missing = sorted(
            name
            for name, f in known.items()
            if name not in given and f.default is MISSING and f.default_factory is MISSING
        )
        if missing:
            raise Refused(
                f"config.json: {cls.__name__} needs {', '.join(missing)}",
                hint="Take them from the checkpoint's own config.json; sizes are never guessed.",
            )
        own = {name: given[name] for name in known if name in given}
        for name, value in own.items():
            wanted = KINDS.get(str(known[name].type))
            if wanted and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)):
                raise Refused(
                    f"config.json: {name} is {value!r}, and {known[name].type} is wanted",
                    hint="Take it from the checkpoint's own config.json.",
                )
        config = cls(**own, rest={name: value for name, value in given.items() if name in BOOKKEEPING})
        for said in config.contradictions():
            raise Refused(f"config.json: {said}", hint="No model has such sizes; look for a field that was changed.")
        return config

    def contradictions(self) -> Iterator[str]:
        """What cannot be of the sizes, each said with the names of the fields. A subclass has its own."""
        yield from ()

    @classmethod
    def translated(cls, given: dict[str, Any]) -> dict[str, Any]:
        """``given`` with other spellings of a field turned into the field; a subclass says which it has."""
        return given

    def prediction_prefixes(self) -> list[str]:
        """What the names of each multi-token prediction layer's tensors begin with; none in most models."""
        return []

    def without_prediction(self) -> Self:
        """The same model without layers that predict further tokens."""
        return self

    def to_json(self) -> dict[str, Any]:
        """config.json again: the fields obeyed and fixed, and whatever else was there."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rest"}
        named = {"architectures": [self.ARCHITECTURE], "model_type": self.MODEL_TYPE}
        return {**named, **self.rest, **self.FIXED, **own}


def _with_flat_rotation(found: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_parameters`` (transformers 5) as the two fields of older files, which everybody reads."""
    given = dict(found)
    for name in ("rope_parameters", "rope_scaling"):
        rotation = given.pop(name, None) or {}
        kind = rotation.get("rope_type", rotation.get("type", "default"))
        if kind != "default":
            raise Refused(
                f"config.json: {name} asks for rotation of type {kind!r}",
                hint="Stretched rotations are not built here; only 'default' is.",
            )
        given |= {key: value for key, value in rotation.items() if key not in ("rope_type", "type")}
    return given
