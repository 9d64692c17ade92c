"""A model that is offered, run from now on as a deployment profile says."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.catalog.book import find_model
from openmaas.catalog.deployments import Deployment, add_deployment, change_deployment, list_deployments, new_deployment
from openmaas.core.errors import FieldInvalid
from openmaas.engines.openvino import folder as openvino
from openmaas.engines.profile import DeploymentProfile
from openmaas.store.audit_log import Actor


def adopt(tx: sa.Connection, who: Actor, name: str, profile: DeploymentProfile) -> list[Deployment]:
    """Deploy ``name`` as ``profile`` found best, in place of the engines here that run it with the same weights.

    Raises ``ModelUnknown``, ``ExtraMissing``, and ``FieldInvalid`` for a profile that says nothing of this model.
    """
    model, best = find_model(tx, name), profile.best
    before = [
        row
        for row in list_deployments(tx)
        if row.model == name and row.wanted == "running" and row.weights == best.weights and not row.over
    ]
    if not before:
        said = f"the profile's best runs {best.weights}, which no running deployment of {name!r} has; offer that first"
        raise FieldInvalid(said, field="profile")
    if model.context_tokens > profile.context:
        said = (
            f"{name!r} offers {model.context_tokens} tokens, and the profile was measured with {profile.context} a slot"
        )
        raise FieldInvalid(f"{said}; run `openmaas sweep --context {model.context_tokens}`", field="profile")
    if best.kind == "openvino":
        openvino.check_extra()
    told = {"weights": best.weights, "slots": best.slots, "options": best.options()}
    made = [new_deployment(who.clock, name, best.kind, **told) for _ in range(best.processes)]
    for deployment in made:
        add_deployment(tx, deployment)
    for row in before:
        change_deployment(tx, row.id, {"wanted": "stopped"})
    return made
