"""From a row of the catalogue to what runs: an engine's specification, and where the relay finds it."""

from __future__ import annotations

import ssl
from typing import cast
from urllib.parse import urlsplit

from openmaas.catalog.book import Deployment, Model
from openmaas.catalog.face import Offers
from openmaas.engines.spec import EngineSpec, Kind
from openmaas.engines.weights import locate
from openmaas.house.layout import Layout
from openmaas.identity.seal import MasterKeys
from openmaas.relay.replicas import Replica
from openmaas.relay.upstream import Place


def engine_spec(deployment: Deployment, model: Model, layout: Layout) -> EngineSpec:
    """How to start a local deployment. Raises ``ModelUnknown`` when its weights are not here."""
    weights = str(locate(deployment.weights, layout.weights).path) if deployment.weights else ""
    return EngineSpec(
        kind=cast(Kind, deployment.kind),  # the table holds no other for a local deployment
        model=deployment.served_name,
        socket=layout.socket(deployment.id),
        weights=weights,
        slots=deployment.slots,
        context=model.context_tokens,
        meter=layout.meter(deployment.id),
        options=deployment.options,
    )


def replicas(offers: Offers, layout: Layout, master: MasterKeys) -> dict[str, list[Replica]]:
    """Where the relay reaches each model."""
    found: dict[str, list[Replica]] = {}
    for deployment in offers.deployments:
        place = _place(deployment, layout, master)
        replica = Replica(deployment.id, deployment.served_name, place, deployment.slots, local=deployment.local)
        found.setdefault(deployment.model, []).append(replica)
    return found


def _place(deployment: Deployment, layout: Layout, master: MasterKeys) -> Place:
    if deployment.local:
        return Place(path=layout.socket(deployment.id), prefix=b"/v1", headers=b"")
    url = urlsplit(deployment.url)
    secure = url.scheme == "https"
    headers = b""
    if deployment.credential_sealed is not None:
        assert deployment.master_version is not None
        secret = master.open(deployment.credential_sealed, deployment.id, deployment.master_version)
        headers = b"authorization: Bearer %b\r\n" % secret
    return Place(
        host=url.hostname or "",
        port=url.port or (443 if secure else 80),
        tls=ssl.create_default_context() if secure else None,
        prefix=url.path.rstrip("/").encode(),
        headers=headers,
    )
