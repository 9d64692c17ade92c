"""What is offered right now, as one value. The relay and the supervisor hold it as a ``Snapshot``."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.catalog.book import Deployment, Model, list_deployments, list_models


class Offers(msgspec.Struct, frozen=True):
    """``models`` by name, and the ``deployments`` that are wanted running."""

    models: dict[str, Model]
    deployments: list[Deployment]


def offers(tx: sa.Connection) -> Offers:
    """Everything that is offered."""
    models = {model.name: model for model in list_models(tx)}
    return Offers(models, [found for found in list_deployments(tx) if found.wanted == "running"])
