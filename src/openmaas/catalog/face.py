"""What is offered right now, as one value. The relay and the supervisor hold it as a ``Snapshot``."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from openmaas.catalog.aliases import Alias, list_aliases, list_pins, meant, plain, resolve
from openmaas.catalog.book import Model, list_models
from openmaas.catalog.deployments import Deployment, list_deployments


class Offers(msgspec.Struct, frozen=True):
    """``models`` by name, their other names, those that a project has of its own (``pins``), and the ``deployments``
    that are wanted running."""

    models: dict[str, Model]
    deployments: list[Deployment]
    aliases: list[Alias] = []
    pins: dict[str, list[Alias]] = {}

    def find(self, name: str, organisation_id: str, project_id: str = "") -> Model | None:
        """The model that this customer means by ``name``; those of other customers are not there."""
        own = self.pins.get(project_id)
        found = (own and meant(plain(name), own)) or resolve(name, self.models, self.aliases)
        model = None if found is None else self.models[found]
        return model if model is not None and model.is_for(organisation_id) else None

    def fallbacks(self, model: Model, organisation_id: str, allowed: Collection[str] | None) -> list[Model]:
        """The models that may stand in for ``model``: those that this customer may know of, and this key may use."""
        found = (self.models.get(name) for name in model.fallbacks if allowed is None or name in allowed)
        return [each for each in found if each is not None and each.is_for(organisation_id)]


def offers(tx: sa.Connection) -> Offers:
    """Everything that is offered."""
    models = {model.name: model for model in list_models(tx)}
    running = [found for found in list_deployments(tx) if found.wanted == "running"]
    return Offers(models, running, list_aliases(tx), list_pins(tx))
