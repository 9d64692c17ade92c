"""From a row of the catalogue to what runs: an engine's specification, and where the relay finds it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

from openmaas.catalog.book import Model
from openmaas.catalog.deployments import Deployment, base_of
from openmaas.catalog.face import Offers
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.dialect import MAX_COMPLETION_TOKENS, MAX_TOKENS, Manner
from openmaas.engines.spec import LACKS, EngineSpec, Kind
from openmaas.engines.weights import locate
from openmaas.house.layout import Layout
from openmaas.identity.seal import MasterKeys
from openmaas.relay.lines.replica import Replica
from openmaas.relay.upstream.place import Place

log = logging.getLogger(__name__)

#: What the option ``cap`` of an endpoint means on the wire.
_CAPS = {
    "max_tokens": (MAX_TOKENS,),
    "max_completion_tokens": (MAX_COMPLETION_TOKENS,),
    "both": (MAX_TOKENS, MAX_COMPLETION_TOKENS),
}


def engine_spec(deployment: Deployment, model: Model, layout: Layout) -> EngineSpec:
    """How to start a local deployment. Raises ``ModelUnknown`` when its weights are not here."""
    weights = locate(deployment.weights, layout.weights) if deployment.weights else None
    return EngineSpec(
        kind=cast(Kind, deployment.kind),  # the table holds no other for a local deployment
        model=deployment.served_name,
        socket=layout.socket(deployment.id),
        weights=str(weights.path) if weights else "",
        template=weights.template if weights else "",
        slots=deployment.slots,
        context=model.context_tokens,
        meter=layout.meter(deployment.id),
        options=deployment.options,
    )


def replicas(offers: Offers, layout: Layout, master: MasterKeys, region: str) -> dict[str, list[Replica]]:
    """Where the relay, which is in ``region``, reaches each model."""
    found: dict[str, list[Replica]] = {}
    for deployment in offers.deployments:
        if deployment.over:
            found.setdefault(deployment.model, []).extend(_laid_over(deployment, offers, layout, region))
            continue
        try:
            place = _place(deployment, layout, master)
        except (ValueError, OpenmaasError) as error:  # one that cannot be reached must not take the others down
            log.error("deployment %s is left out: %s", deployment.id, error)
            continue
        name, slots, local = deployment.served_name, deployment.slots, deployment.local
        manner, lacks = _manner(deployment), frozenset(LACKS.get(deployment.kind, ()))
        replica = Replica(deployment.id, name, place, slots, local=local, manner=manner, lacks=lacks)
        _say_what_it_gets(replica, deployment, region)
        found.setdefault(deployment.model, []).append(replica)
    return found


def _laid_over(adapter: Deployment, offers: Offers, layout: Layout, region: str) -> Iterator[Replica]:
    """An adapter is wherever its base is: the same engines, told which file each request means."""
    header = b"x-adapter: %b\r\n" % adapter.weights.encode()
    for base in offers.deployments:
        if base_of(base, adapter):
            place = Place(path=layout.socket(base.id), prefix=b"/v1", headers=header)
            replica = Replica(base.id, adapter.served_name, place, base.slots, local=True, manner=_manner(base))
            _say_what_it_gets(replica, base, region)
            yield replica


def _say_what_it_gets(replica: Replica, deployment: Deployment, region: str) -> None:
    """One that does not say where it is, is near; all are to a house that does not."""
    replica.weight, replica.share = deployment.weight, deployment.share_percent / 100
    replica.near = not (deployment.region and region) or deployment.region == region


def _manner(deployment: Deployment) -> Manner:
    """How its engine is spoken to. Ours think as the chat template lets them."""
    if deployment.local:
        return Manner(thinking="template")
    options = deployment.options
    caps = _CAPS[str(options.get("cap", MAX_TOKENS))]
    forces = options.get("tool_choice", "kept") == "kept"
    return Manner(caps, str(options.get("thinking", "")), str(options.get("calls", "")), forces)


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
