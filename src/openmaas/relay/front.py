"""What the relay answers, path by path: inference, its own few pages, and the rest handed to the control plane."""

from __future__ import annotations

import logging
from urllib.parse import unquote

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import Draining, Internal, MethodUnknown, ModelUnknown, OpenmaasError
from openmaas.core.parents import REQUEST
from openmaas.dialects.dialect import Offer
from openmaas.dialects.openai.errors import render
from openmaas.relay.counting import Counting
from openmaas.relay.door.message import Answer, Request
from openmaas.relay.exposition import exposition
from openmaas.relay.journey import Journey
from openmaas.relay.peers import Peers

log = logging.getLogger(__name__)

_JSON = b"content-type: application/json\r\n"
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
#: Pages of the relay itself.
OWN = ("/healthz", "/readyz", "/metrics")
#: A model, which the relay tells of and the control plane deletes.
MODEL = "/v1/models/"


class Front:
    """Answers what comes through the door."""

    def __init__(self, journey: Journey, clock: Clock, peers: Peers, *, cors_origins: frozenset[str]) -> None:
        self.draining = False
        self._journey, self._counting = journey, Counting(journey)
        self._paths, self._counts = journey.entrances.paths, journey.entrances.counts
        self._doorsteps = journey.entrances.doorsteps
        self._posts = {*self._paths, *self._counts}
        self._clock = clock
        self._peers = peers
        self._cors_origins = cors_origins

    def gathers(self, method: str, path: str) -> bool:
        """True when the body is needed whole."""
        return path in self._posts or self._is_own(method, path)

    def _is_own(self, method: str, path: str) -> bool:
        if method == "DELETE" and path.startswith(MODEL):
            return False
        return path in OWN or path in self._doorsteps or self._journey.entrances.listing(path) is not None

    async def walk(self, request: Request, answer: Answer) -> None:
        """Answer one request, whatever happens."""
        request_id = self._clock.new_id(REQUEST)
        if self._cors_origins:
            answer.extra = self._may_read(request)
        try:
            if request.head.method == "POST" and request.head.path in self._paths and not self.draining:
                await self._journey.infer(request, answer, request_id)
            elif request.head.method == "POST" and request.head.path in self._counts and not self.draining:
                await self._counting.answer(request, answer, request_id)
            else:
                await self._walk_else(request, answer, request_id)
        except OpenmaasError as error:
            self._journey.refuse(answer, error, request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            self._journey.refuse(answer, Internal(f"request {request_id}"), request_id)

    def fail(self, error: OpenmaasError) -> tuple[int, bytes]:
        """Status and body for what went wrong before there was a request."""
        status, _, body = render(error)
        return status, body

    async def _walk_else(self, request: Request, answer: Answer, request_id: str) -> None:
        path, method = request.head.path, request.head.method
        if method == "OPTIONS" and answer.extra and b"access-control-request-method" in request.head.headers:
            answer.whole(204, _may_ask(request), b"")
        elif path in self._posts:
            if method == "POST":
                raise Draining(retry_after_s=1)
            if method == "OPTIONS":
                answer.whole(204, b"allow: POST, OPTIONS\r\n", b"")
            else:
                raise MethodUnknown(f"{path} takes POST, not {method}", field="method", allowed=("POST", "OPTIONS"))
        elif self._is_own(method, path):
            await self._own(request, answer, method, path, request_id)
        else:
            tag = self._journey.entrances.dialect_of(path, request.head.headers).tag(request_id)
            await self._journey.handover.pass_on(request, answer, tag)

    async def _own(self, request: Request, answer: Answer, method: str, path: str, request_id: str) -> None:
        allowed = ["DELETE"] * path.startswith(MODEL) + ["GET", "HEAD", "OPTIONS"]
        if method == "OPTIONS":
            answer.whole(204, b"allow: %b\r\n" % ", ".join(allowed).encode(), b"")
        elif method not in ("GET", "HEAD"):
            raise MethodUnknown(f"{path} takes GET, not {method}", field="method", allowed=allowed)
        elif path == "/healthz" or path in self._doorsteps:
            answer.whole(200, _JSON, b'{"status":"ok"}')
        elif path == "/readyz":
            ready, page = self._readiness()
            answer.whole(200 if ready else 503, _JSON, page)
        elif path == "/metrics":
            answer.whole(200, _TEXT, await self._metrics(request))
        else:
            tag = self._journey.entrances.dialect_of(path, request.head.headers).tag(request_id)
            answer.whole(200, _JSON + tag, await self._models(request, path))

    def _readiness(self) -> tuple[bool, bytes]:
        """Ready when every model that has a deployment has one that answers, and we are not shutting down. Models that
        are one customer's are neither waited for nor told of."""
        known = self._journey.catalog.value.models
        models = {
            line.model: {
                "ready": line.ready,
                "replicas": [
                    {"deployment": replica.deployment_id, "ready": replica.ready, "running": replica.running}
                    for replica in line.replicas
                ],
                "waiting": line.waiting,
            }
            for line in self._journey.replicas.lines.values()
            if line.replicas and not (line.model in known and known[line.model].owner)
        }
        ready = bool(models) and all(model["ready"] for model in models.values()) and not self.draining
        return ready, msgspec.json.encode({"ready": ready, "draining": self.draining, "models": models})

    async def _metrics(self, request: Request) -> bytes:
        """The numbers of all customers together: not for everybody, and a scraper need not be an admin."""
        caller = await self._journey.recognise(request)
        if "admin" not in caller.scopes:
            caller.need("metrics")
        return exposition(await self._peers.gather(), await self._peers.jobs())

    async def _models(self, request: Request, path: str) -> bytes:
        """What this key may ask for now; a model whose deployments are all stopped is not among it."""
        caller = await self._journey.recognise(request)
        offers, entrances = self._journey.catalog.value, self._journey.entrances
        running = {deployment.model for deployment in offers.deployments}
        allowed = {
            model.name: Offer(model.name, model.created_ms, model.context_tokens)
            for model in offers.models.values()
            if model.name in running
            and model.is_for(caller.organisation_id)
            and (caller.models is None or model.name in caller.models)
        }
        dialect = entrances.dialect_of(path, request.head.headers)
        name = unquote(entrances.listing(path) or "")
        if not name:
            return dialect.listed(list(allowed.values()), request.head.query)
        meant = offers.find(name, caller.organisation_id, caller.project_id)
        if meant is not None and meant.name in allowed:
            return dialect.described(allowed[meant.name])
        raise ModelUnknown(f"there is no model {name!r}", field="model")

    def _may_read(self, request: Request) -> bytes:
        """What lets a page of an origin that the operator named read the answer; nothing by default (Fetch §3.2).
        ``*`` shows it every header when it sent no cookies; when it did, the browser shows it nothing, for we never say
        ``access-control-allow-credentials``."""
        origin = request.head.headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self._cors_origins:
            return b""
        return b"access-control-allow-origin: %b\r\naccess-control-expose-headers: *\r\nvary: origin\r\n" % origin


def _may_ask(request: Request) -> bytes:
    """The answer to a preflight of an allowed origin: it may send whatever headers it names, for SDKs have their own
    (``x-stainless-*``, ``anthropic-version``), and nothing here is decided by a cookie (Fetch §3.2.3)."""
    named = request.head.headers.get(b"access-control-request-headers", b"")
    lines = b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\naccess-control-max-age: 600\r\n"
    return lines + (b"access-control-allow-headers: %b\r\n" % named if named else b"")
