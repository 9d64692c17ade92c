"""What a new installation needs before it can serve: an organisation with credit, keys, a model with a price.

Every step looks first whether it was done, so an interrupted first start goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import msgspec
import sqlalchemy as sa

from openmaas.catalog import law as _catalog_law  # noqa: F401 - the tables of every room must be known to the store
from openmaas.catalog.book import Model, add_model, list_models
from openmaas.catalog.deployments import add_deployment, list_deployments, new_deployment
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import parse_amount
from openmaas.core.terms import flat
from openmaas.engines.gguf import check_whole
from openmaas.engines.glm import folder as glm
from openmaas.engines.openvino import folder as openvino
from openmaas.engines.pull import pull
from openmaas.engines.weights import Weights, catalogue, locate
from openmaas.files import law as _files_law  # noqa: F401 - as above
from openmaas.house.layout import Layout
from openmaas.house.settings import Settings
from openmaas.identity import law as identity_law
from openmaas.identity.book import SCOPES, add_key, add_organisation, add_project
from openmaas.identity.seal import MasterKeys
from openmaas.knowledge import law as _knowledge_law  # noqa: F401 - as above
from openmaas.ledger.book import top_up
from openmaas.ledger.prices import list_prices, set_price
from openmaas.limits import law as _limits_law  # noqa: F401 - as above
from openmaas.responses import law as _responses_law  # noqa: F401 - as above
from openmaas.store.audit_log import SYSTEM, Actor, audited
from openmaas.store.database import Database
from openmaas.store.files import write_whole
from openmaas.webhooks import law as _webhooks_law  # noqa: F401 - as above
from openmaas.work import law as _work_law  # noqa: F401 - as above

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
#: Currency units per million tokens, so that nothing is free by accident; `openmaas models price` sets your own.
STARTING_PRICE = {"input": "1", "cached": "0.2", "output": "2"}
OUTPUT_TOKENS_DEFAULT = 1_024
SLOTS = 4
#: The shipped fake, for trials of everything around a model: `openmaas serve --model echo`.
ECHO = Weights("echo", "echo", Path(), 131_072)
ECHO_SLOTS = 4_096


class First(msgspec.Struct, frozen=True):
    """What the first start made. ``key`` is None at every later one."""

    key: str | None


def open_house(layout: Layout) -> Database:
    """The folders and the database of an installation, made when missing."""
    layout.prepare()
    database = Database(layout.database)
    database.prepare()
    return database


def first_start(database: Database, layout: Layout, settings: Settings, clock: Clock) -> First:
    """The first organisation, project, wallet and keys, unless there is an organisation already."""
    master = MasterKeys(layout.master_keys)

    def begin(tx: sa.Connection) -> tuple[str, str]:
        organisation_id = add_organisation(tx, clock, "default")
        project_id = add_project(tx, clock, organisation_id, "default")
        amount = parse_amount(settings.starting_credit)
        if amount:
            top_up(
                tx,
                clock,
                organisation_id,
                currency=settings.currency,
                amount_nanos=amount,
                request_key="first start",
                memo="starting credit",
            )
        _, admin = add_key(tx, clock, master, project_id, "bootstrap admin", scopes=list(SCOPES))
        _, key = add_key(tx, clock, master, project_id, "first key", scopes=["inference", "usage"])
        write_whole(layout.admin_key, admin.encode() + b"\n")  # before the commit: a key nobody has is worse
        return organisation_id, key

    def book(tx: sa.Connection) -> str | None:
        if tx.execute(sa.select(identity_law.organisations.c.id).limit(1)).scalar() is not None:
            return None
        return audited(Actor(SYSTEM, clock), "house.begin", itemgetter(0), begin)(tx)[1]

    return First(database.call(book))


def offer_model(
    database: Database, layout: Layout, asked: str, currency: str, who: Actor, say: Say, progress: Progress
) -> str:
    """See that the weights ``asked`` for are offered: they are here, deployed, priced. Returns the model's name."""
    offered = {model.name for model in database.look(list_models)}
    if asked in offered:
        return asked
    pullable = any(entry.name == asked for entry in catalogue())
    if pullable:
        say(f"weights of {asked}")
        pull(asked, layout.weights, progress)
    weights = ECHO if asked == ECHO.name else locate(asked, layout.weights)
    here = "" if pullable or weights is ECHO else str(weights.path)
    if weights.name in offered:
        known = [found.weights for found in database.look(list_deployments) if found.model == weights.name]
        if here and known and not any(Path(name).resolve() == weights.path for name in known):
            said = f"the name {weights.name!r} is already that of {known[0]}; give {asked} another one"
            raise FieldInvalid(said, field="model")
        return weights.name
    if weights.kind == "glm":
        glm.check_extra()
    elif weights.kind == "openvino":
        openvino.check_extra()
    elif here:
        check_whole(weights.path)
    embed, echo = weights.kind == "embedder", weights is ECHO
    deployment = new_deployment(
        who.clock,
        weights.name,
        weights.kind,
        weights="" if echo else here or asked,  # a path as it is from everywhere: the house runs elsewhere
        slots=ECHO_SLOTS if echo else SLOTS,
    )

    def book(tx: sa.Connection) -> None:
        add_model(
            tx,
            Model(
                name=weights.name,
                task="embed" if embed else "generate",
                context_tokens=weights.context,
                output_tokens_default=0 if embed else min(OUTPUT_TOKENS_DEFAULT, weights.context),
                description=f"{weights.name} on this machine",
                created_ms=who.clock.wall_ms(),
            ),
        )
        add_deployment(tx, deployment)
        if not list_prices(tx, model=weights.name, limit=1):
            price = {name: parse_amount(text) for name, text in STARTING_PRICE.items()}
            terms = flat(price["input"], price["output"], price["cached"])
            set_price(tx, model=weights.name, currency=currency, terms=terms, from_ms=0)

    database.call(audited(who, "model.offer", weights.name, book, {"deployment_id": deployment.id}))
    return weights.name
