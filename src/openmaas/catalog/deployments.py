"""The book of deployments, pure functions of one transaction: what runs each model, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from openmaas.catalog.book import Model, Option, find_model, list_models
from openmaas.catalog.law import agents, aliases, deployments, models
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.store.changes import note

#: Engines that we start ourselves, and what each can do for a model; the others are reached by URL and do what they do.
TASKS = {
    "llama": ("generate", "embed"),
    "embedder": ("embed",),
    "echo": ("generate", "embed"),
    "search": ("search",),
    "moderator": ("moderate",),
    "glm": ("generate",),
    "openvino": ("generate",),
}
LOCAL_KINDS = tuple(TASKS)
KINDS = (*LOCAL_KINDS, "openai_http")
WEIGHED_KINDS = ("llama", "embedder", "glm", "openvino")
#: What an endpoint's options may say. ``cap``: by which name it is told how much it may generate; ``thinking``: how it
#: is told to think or not, by ``chat_template_kwargs``, by ``thinking`` or by ``reasoning_effort``; ``calls``: the form
#: in which it leaves calls in its text; ``tool_choice``: whether it keeps one that demands a call.
ENDPOINT_OPTIONS = {
    "cap": ("max_tokens", "max_completion_tokens", "both"),
    "thinking": ("", "template", "zhipu", "effort"),
    "calls": ("", "glm", "glm47", "glm4", "glmz1", "hermes", "json"),
    "tool_choice": ("kept", "ignored"),
}


class Deployment(msgspec.Struct, frozen=True):
    """One engine that runs a model: a local process or an OpenAI-compatible endpoint. ``weight`` is its speed beside
    the model's others; ``share_percent`` the most of the model's requests that it gets, 0 for none: it is drained."""

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
    weight: float = 1.0
    share_percent: int = 100
    region: str = ""

    @property
    def local(self) -> bool:
        """True when it is on this house's machine."""
        return self.kind in LOCAL_KINDS

    @property
    def over(self) -> str:
        """The model whose engines lay these weights, an adapter, over their own; empty for what has its own engine."""
        return str(self.options.get("over", ""))


def add_deployment(tx: sa.Connection, deployment: Deployment) -> None:
    """Add a deployment. Raises ``ModelUnknown`` and ``FieldInvalid``."""
    model = find_model(tx, deployment.model)
    if deployment.kind not in KINDS:
        raise FieldInvalid(f"kind must be one of {', '.join(KINDS)}", field="kind")
    if deployment.local == bool(deployment.url):
        raise FieldInvalid("url belongs to kind openai_http and to no other", field="url")
    if deployment.url:
        _check_url(deployment.url)
        _check_endpoint(deployment.options)
    if (deployment.kind in WEIGHED_KINDS) != bool(deployment.weights):
        raise FieldInvalid(f"weights belong to {', '.join(WEIGHED_KINDS)} and to no other kind", field="weights")
    if deployment.local:
        _check_task(deployment, model)
    if deployment.over:
        _check_over(tx, deployment)
    tx.execute(deployments.insert().values(msgspec.structs.asdict(deployment)))
    note(tx, "catalog", deployment.model)


def _check_task(deployment: Deployment, model: Model) -> None:
    """Raises ``FieldInvalid`` for an engine that could not do what the model is offered for: it would start, and refuse
    each request."""
    if model.task not in TASKS[deployment.kind]:
        fitting = ", ".join([kind for kind, tasks in TASKS.items() if model.task in tasks] + ["openai_http"])
        said = f"{model.name} is offered to {model.task}, which {deployment.kind} does not; one of {fitting} may"
        raise FieldInvalid(said, field="kind")
    if deployment.kind == "llama" and bool(deployment.options.get("embedding")) != (model.task == "embed"):
        said = (
            f"{model.name} is offered to {model.task}; options.embedding is true for what embeds, and for nothing else"
        )
        raise FieldInvalid(said, field="options.embedding")


def _check_over(tx: sa.Connection, deployment: Deployment) -> None:
    """Raises ``FieldInvalid`` for an adapter that no engine could lay over anything."""
    if len(deployment.options) > 1:
        raise FieldInvalid("options: an adapter has `over` and no other, its base has the engine", field="options")
    if not any(base_of(each, deployment) for each in list_deployments(tx)):
        said = f"options.over: {deployment.over!r} has no deployment of kind llama; deploy it first"
        raise FieldInvalid(said, field="options.over")


def base_of(base: Deployment, adapter: Deployment) -> bool:
    """Whether the engine of ``base`` can lay the weights of ``adapter`` over its own."""
    return base.kind == "llama" and base.model == adapter.over and not base.over


def _check_url(text: str) -> None:
    """Raises ``FieldInvalid`` for an address that no relay could connect to: it would be tried at every start."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError as error:
        raise FieldInvalid(f"url: {error}", field="url") from None
    if not usable or not text.isascii() or not text.isprintable() or " " in text or "@" in url.netloc:
        raise FieldInvalid("url must be such as https://host:8000/v1; the credential goes into api_key", field="url")
    if url.query or url.fragment:
        raise FieldInvalid("url must end with its path, such as /v1", field="url")


def _check_endpoint(options: dict[str, Option]) -> None:
    """Raises ``FieldInvalid`` for an option that an endpoint does not have."""
    for name, value in options.items():
        known = ENDPOINT_OPTIONS.get(name)
        if known is None:
            told = f"options.{name} is not an option: openai_http has {', '.join(ENDPOINT_OPTIONS)}"
            raise FieldInvalid(told, field=f"options.{name}")
        if value not in known:
            told = f"options.{name} must be one of {', '.join(filter(None, known))}"
            raise FieldInvalid(told, field=f"options.{name}")


def change_deployment(tx: sa.Connection, deployment_id: str, changed: dict[str, Any]) -> Deployment:
    """Start or stop a deployment (``wanted`` is ``running`` or ``stopped``), or say what it gets: ``weight``,
    ``share_percent``, ``region``. Raises ``ThingUnknown`` and ``FieldInvalid``."""
    if not changed:
        raise FieldInvalid("say what is to change: wanted, weight, share_percent or region", field="wanted")
    given = set(changed) - {"wanted"}
    if given and any(row.id == deployment_id and row.over for row in list_deployments(tx)):
        said = "an adapter gets what the deployments of its base get; change those"
        raise FieldInvalid(said, field=min(given))
    if changed.get("wanted", "running") not in ("running", "stopped"):
        raise FieldInvalid("wanted must be running or stopped", field="wanted")
    row = tx.execute(
        deployments.update().where(deployments.c.id == deployment_id).values(changed).returning(*deployments.c)
    ).mappings()
    found = row.first()
    if found is None:
        raise ThingUnknown(f"there is no deployment {deployment_id}", field="id")
    note(tx, "catalog", deployment_id)
    return Deployment(**found)


def find_deployments(tx: sa.Connection, name: str) -> list[Deployment]:
    """The deployment with this id, else all of the model of this name. Raises ``ModelUnknown`` and ``FieldInvalid``."""
    found = [row for row in list_deployments(tx) if name in (row.id, row.model)]
    if not found:
        find_model(tx, name)
        raise FieldInvalid(f"the model {name!r} has no deployment", field="name")
    return [row for row in found if row.id == name] or found


def remove_model(tx: sa.Connection, name: str) -> Model:
    """Offer a model no more, and run it no more. Raises ``ModelUnknown``, and ``Conflict`` while it has other names,
    agents, or adapters over it, or stands in for another."""
    found = find_model(tx, name)
    if other := next((row.name for row in list_models(tx) if name in row.fallbacks), None):
        raise Conflict(f"{name!r} stands in for {other!r}; say that it does not, first", field="model")
    for table, what in ((aliases, "an alias"), (agents, "an agent")):
        if tx.execute(sa.select(table.c.model).where(table.c.model == name)).first() is not None:
            raise Conflict(f"{what} names {name!r}; remove that first", field="model")
    if over := next((row for row in list_deployments(tx) if row.over == name and row.model != name), None):
        raise Conflict(f"{over.model!r} is an adapter over {name!r}; remove that first", field="model")
    tx.execute(deployments.delete().where(deployments.c.model == name))
    tx.execute(models.delete().where(models.c.name == name))
    note(tx, "catalog", name)
    return found


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
    tx: sa.Connection, unseal: Callable[[bytes, str, int], bytes], seal: Callable[[bytes, str], tuple[int, bytes]]
) -> int:
    """Seal every endpoint's credential again; returns how many there are."""
    count = 0
    for found in list_deployments(tx):
        if found.credential_sealed is None or found.master_version is None:
            continue
        version, secret = seal(unseal(found.credential_sealed, found.id, found.master_version), found.id)
        values = {"credential_sealed": secret, "master_version": version}
        tx.execute(deployments.update().where(deployments.c.id == found.id).values(values))
        note(tx, "catalog", found.id)
        count += 1
    return count


def credential_versions(tx: sa.Connection) -> set[int]:
    """The versions of the master key that open some endpoint's credential."""
    column = deployments.c.master_version
    return set(tx.execute(sa.select(column).where(column.is_not(None)).distinct()).scalars())
