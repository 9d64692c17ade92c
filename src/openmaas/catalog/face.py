"""What is offered right now, as one value. The relay and the supervisor hold it as a ``Snapshot``."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.catalog.aliases import Alias, list_aliases, resolve
from openmaas.catalog.book import Deployment, Model, list_deployments, list_models


class Offers(msgspec.Struct, frozen=True):
    """``models`` by name, their other names, and the ``deployments`` that are wanted running."""

    models: dict[str, Model]
    deployments: list[Deployment]
    aliases: list[Alias] = []

    def find(self, name: str, organisation_id: str) -> Model | None:
        """The model that this customer means by ``name``; those of other customers are not there."""
        found = resolve(name, self.models, self.aliases)
        model = None if found is None else self.models[found]
        return model if model is not None and model.is_for(organisation_id) else None


def offers(tx: sa.Connection) -> Offers:
    """Everything that is offered."""
    models = {model.name: model for model in list_models(tx)}
    running = [found for found in list_deployments(tx) if found.wanted == "running"]
    return Offers(models, running, list_aliases(tx))
