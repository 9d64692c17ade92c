"""The book of models, pure functions of one transaction."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from openmaas.catalog.law import models
from openmaas.core.errors import AlreadyThere, FieldInvalid, ModelUnknown
from openmaas.store.changes import note

Option = str | int | float | bool
#: What tunes a model: openglm, or a program that it launches.
OWN_TRAINER = "openglm"


class Model(msgspec.Struct, frozen=True):
    """A model as customers see it. ``task`` is ``generate``, ``embed``, ``search`` or ``moderate``. ``owner`` is the
    organisation that alone sees it, empty for everybody; ``checkpoint`` the folder that it can be tuned from, empty
    where there is none; ``trainer`` what tunes it, with ``trainer_processes`` that share a batch. ``fallbacks`` are
    the models that stand in for it while no replica of it takes a request, in this order."""

    name: str
    task: str
    context_tokens: int
    output_tokens_default: int
    description: str
    created_ms: int
    owner: str = ""
    checkpoint: str = ""
    trainer: str = OWN_TRAINER
    trainer_arguments: dict[str, Option] = {}
    trainer_processes: int = 1
    fallbacks: list[str] = []

    def is_for(self, organisation_id: str) -> bool:
        """Whether this customer may know of it."""
        return self.owner in ("", organisation_id)


def add_model(tx: sa.Connection, model: Model) -> None:
    """Offer a model. Raises ``AlreadyThere``."""
    try:
        with tx.begin_nested():
            tx.execute(models.insert().values(msgspec.structs.asdict(model)))
    except IntegrityError:
        raise AlreadyThere(f"there is already a model {model.name!r}", field="name") from None
    note(tx, "catalog", model.name)


def set_trainer(tx: sa.Connection, name: str, trainer: str, arguments: dict[str, Option], processes: int) -> Model:
    """Say what runs the tuning jobs of a model from now on. Raises ``ModelUnknown``, ``FieldInvalid``."""
    found = find_model(tx, name)
    if not found.checkpoint:
        raise FieldInvalid(f"{name} cannot be tuned: it has no checkpoint", field="model")
    if trainer == OWN_TRAINER and (arguments or processes != 1):
        raise FieldInvalid(f"{trainer} takes neither arguments nor processes", field="arguments")
    told = {"trainer": trainer, "trainer_arguments": arguments, "trainer_processes": processes}
    tx.execute(models.update().where(models.c.name == name).values(told))
    note(tx, "catalog", name)
    return msgspec.structs.replace(found, **told)


def set_fallbacks(tx: sa.Connection, name: str, fallbacks: list[str]) -> Model:
    """Say which models stand in for this one, instead of those that did. Raises ``ModelUnknown``, ``FieldInvalid``."""
    found = find_model(tx, name)
    if fallbacks and found.task == "embed":
        raise FieldInvalid(
            "models: vectors of one model say nothing beside another's: none can stand in", field="models"
        )
    for number, other in enumerate(fallbacks):
        if other == name or other in fallbacks[:number]:
            raise FieldInvalid(
                f"models: {other!r} is there twice; the model itself is always the first", field="models"
            )
        if (task := find_model(tx, other).task) != found.task:
            raise FieldInvalid(f"models: {other!r} is offered to {task}, {name!r} to {found.task}", field="models")
    tx.execute(models.update().where(models.c.name == name).values(fallbacks=fallbacks))
    note(tx, "catalog", name)
    return msgspec.structs.replace(found, fallbacks=fallbacks)


def find_model(tx: sa.Connection, name: str) -> Model:
    """The model of this name. Raises ``ModelUnknown``."""
    row = tx.execute(sa.select(models).where(models.c.name == name)).mappings().first()
    if row is None:
        raise ModelUnknown(f"there is no model {name!r}", field="model")
    return Model(**row)


def need_models(tx: sa.Connection, names: list[str] | None) -> None:
    """Raises ``ModelUnknown`` unless there are all of them: a name that nobody offers would be sold for nothing, or
    keep a key from everything."""
    wanted = set(names or ())
    known = set(tx.execute(sa.select(models.c.name).where(models.c.name.in_(wanted))).scalars())
    if wanted - known:
        raise ModelUnknown(f"there is no model {min(wanted - known)!r}", field="models")


def list_models(tx: sa.Connection, *, after: str = "", limit: int | None = None) -> list[Model]:
    """Models by name, after ``after``; all of them without ``limit``."""
    query = sa.select(models).where(models.c.name > after).order_by(models.c.name).limit(limit)
    return [Model(**row) for row in tx.execute(query).mappings()]
