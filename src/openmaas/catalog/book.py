"""The book of the catalogue: pure functions of one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from openmaas.catalog.law import deployments, models
from openmaas.core.clock import Clock
from openmaas.core.errors import AlreadyThere, FieldInvalid, ModelUnknown, ThingUnknown
from openmaas.store.changes import note

#: Engines that we start ourselves; the others are reached by URL.
LOCAL_KINDS = ("llama", "embedder", "echo")
KINDS = (*LOCAL_KINDS, "openai_http")
Option = str | int | float | bool


class Model(msgspec.Struct, frozen=True):
    """A model as customers see it. ``task`` is ``generate`` or ``embed``."""

    name: str
    task: str
    context_tokens: int
    output_tokens_default: int
    description: str
    created_ms: int


class Deployment(msgspec.Struct, frozen=True):
    """One engine that runs a model: a local process or an OpenAI-compatible endpoint."""

    id: str
    model: str
    kind: str
    served_name: str
    weights: str
    url: str
    slots: int
    options: dict[str, Option]
    wanted: str
    created_ms: int
    credential_sealed: bytes | None = None
    master_version: int | None = None

    @property
    def local(self) -> bool:
        """True when our supervisor runs it."""
        return self.kind in LOCAL_KINDS


def add_model(tx: sa.Connection, model: Model) -> None:
    """Offer a model. Raises ``AlreadyThere``."""
    try:
        with tx.begin_nested():
            tx.execute(models.insert().values(msgspec.structs.asdict(model)))
    except IntegrityError:
        raise AlreadyThere(f"there is already a model {model.name!r}", field="name") from None
    note(tx, "catalog", model.name)


def add_deployment(tx: sa.Connection, deployment: Deployment) -> None:
    """Add a deployment. Raises ``ModelUnknown`` and ``FieldInvalid``."""
    find_model(tx, deployment.model)
    if deployment.kind not in KINDS:
        raise FieldInvalid(f"kind must be one of {', '.join(KINDS)}", field="kind")
    if deployment.local == bool(deployment.url):
        raise FieldInvalid("url belongs to kind openai_http and to no other", field="url")
    tx.execute(deployments.insert().values(msgspec.structs.asdict(deployment)))
    note(tx, "catalog", deployment.model)


def want_deployment(tx: sa.Connection, deployment_id: str, wanted: str) -> Deployment:
    """Start or stop a deployment: ``wanted`` is ``running`` or ``stopped``. Raises ``ThingUnknown``."""
    if wanted not in ("running", "stopped"):
        raise FieldInvalid("wanted must be running or stopped", field="wanted")
    row = tx.execute(
        deployments.update().where(deployments.c.id == deployment_id).values(wanted=wanted).returning(*deployments.c)
    ).mappings()
    found = row.first()
    if found is None:
        raise ThingUnknown(f"there is no deployment {deployment_id}", field="id")
    note(tx, "catalog", deployment_id)
    return Deployment(**found)


def find_model(tx: sa.Connection, name: str) -> Model:
    """The model of this name. Raises ``ModelUnknown``."""
    row = tx.execute(sa.select(models).where(models.c.name == name)).mappings().first()
    if row is None:
        raise ModelUnknown(f"there is no model {name!r}", field="model")
    return Model(**row)


def list_models(tx: sa.Connection, *, after: str = "", limit: int | None = None) -> list[Model]:
    """Models by name, after ``after``; all of them without ``limit``."""
    query = sa.select(models).where(models.c.name > after).order_by(models.c.name).limit(limit)
    return [Model(**row) for row in tx.execute(query).mappings()]


def list_deployments(tx: sa.Connection, *, after: str = "", limit: int | None = None) -> list[Deployment]:
    """Deployments by id, after ``after``; all of them without ``limit``."""
    query = sa.select(deployments).where(deployments.c.id > after).order_by(deployments.c.id).limit(limit)
    return [Deployment(**row) for row in tx.execute(query).mappings()]


def new_deployment(clock: Clock, model: str, kind: str, **fields: Any) -> Deployment:
    """A deployment with a fresh id and sensible defaults for what is not named."""
    known: dict[str, Any] = {"served_name": model, "weights": "", "url": "", "slots": 4, "options": {}}
    return Deployment(
        id=clock.new_id("dep").lower(),
        model=model,
        kind=kind,
        wanted="running",
        created_ms=clock.wall_ms(),
        **(known | fields),
    )


def rewrap_credentials(
    tx: sa.Connection,
    unseal: Callable[[bytes, str, int], bytes],
    seal: Callable[[bytes, str], bytes],
    version: int,
) -> int:
    """Seal every endpoint's credential under master key ``version``; returns how many were moved."""
    old = [
        found
        for found in list_deployments(tx)
        if found.credential_sealed is not None and found.master_version not in (None, version)
    ]
    for found in old:
        assert found.credential_sealed is not None
        assert found.master_version is not None
        again = seal(unseal(found.credential_sealed, found.id, found.master_version), found.id)
        values = {"credential_sealed": again, "master_version": version}
        tx.execute(deployments.update().where(deployments.c.id == found.id).values(values))
        note(tx, "catalog", found.id)
    return len(old)
