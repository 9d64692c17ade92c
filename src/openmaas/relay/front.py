"""What the relay answers, path by path: inference, its own few pages, and the rest handed to the control plane."""

from __future__ import annotations

import logging

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import Draining, Internal, MethodUnknown, ModelUnknown, OpenmaasError
from openmaas.dialects.openai.errors import render
from openmaas.dialects.openai.request import PATHS
from openmaas.relay.door import Answer, Request
from openmaas.relay.handover import hand_over
from openmaas.relay.journey import Journey
from openmaas.relay.upstream import Place

log = logging.getLogger(__name__)

_JSON = b"content-type: application/json\r\n"
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
#: Pages of the relay itself.
OWN = ("/healthz", "/readyz", "/metrics", "/v1/models")


class Front:
    """The relay's side of ``door.Front``."""

    def __init__(self, journey: Journey, control: Place, clock: Clock, *, cors_origins: frozenset[str]) -> None:
        self.draining = False
        self._journey = journey
        self._control = control
        self._clock = clock
        self._cors_origins = cors_origins

    def gathers(self, method: str, path: str) -> bool:
        """True when the body is needed whole."""
        return path in PATHS or path in OWN

    async def walk(self, request: Request, answer: Answer) -> None:
        """Answer one request, whatever happens."""
        request_id = self._clock.new_id("req")
        try:
            await self._walk(request, answer, request_id)
        except OpenmaasError as error:
            self._journey.refuse(answer, error, request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            self._journey.refuse(answer, Internal(f"request {request_id}"), request_id)

    def fail(self, error: OpenmaasError) -> tuple[int, bytes]:
        """Status and body for what went wrong before there was a request."""
        status, _, body = render(error)
        return status, body

    async def _walk(self, request: Request, answer: Answer, request_id: str) -> None:
        path, method = request.path, request.method
        if path in PATHS:
            if method == "POST":
                if self.draining:
                    raise Draining(retry_after_s=1)
                await self._journey.infer(request, answer, request_id)
            elif method == "OPTIONS":
                answer.whole(204, b"allow: POST, OPTIONS\r\n" + self._cors(request), b"")
            else:
                raise MethodUnknown(f"{path} takes POST, not {method}", field="method")
        elif path in OWN or path.startswith("/v1/models/"):
            await self._own(request, answer, method, path)
        else:
            extra = b"x-request-id: %b\r\n" % request_id.encode()
            await hand_over(request, answer, self._journey.pool, self._control, extra)

    async def _own(self, request: Request, answer: Answer, method: str, path: str) -> None:
        if method == "OPTIONS":
            answer.whole(204, b"allow: GET, HEAD, OPTIONS\r\n" + self._cors(request), b"")
        elif method not in ("GET", "HEAD"):
            raise MethodUnknown(f"{path} takes GET, not {method}", field="method")
        elif path == "/healthz":
            answer.whole(200, _JSON, b'{"status":"ok"}')
        elif path == "/readyz":
            ready, page = self._readiness()
            answer.whole(200 if ready else 503, _JSON, page)
        elif path == "/metrics":
            answer.whole(200, _TEXT, self._journey.metrics.text())
        else:
            answer.whole(200, _JSON + self._cors(request), await self._models(request, path))

    def _readiness(self) -> tuple[bool, bytes]:
        """Ready when every model that has a deployment has one that answers, and we are not shutting down."""
        models = {
            line.model: {
                "ready": any(replica.ready for replica in line.replicas),
                "replicas": [
                    {"deployment": replica.deployment_id, "ready": replica.ready, "running": replica.busy}
                    for replica in line.replicas
                ],
                "waiting": line.waiting,
            }
            for line in self._journey.replicas.lines.values()
            if line.replicas
        }
        ready = bool(models) and all(model["ready"] for model in models.values()) and not self.draining
        return ready, msgspec.json.encode({"ready": ready, "draining": self.draining, "models": models})

    async def _models(self, request: Request, path: str) -> bytes:
        caller = await self._journey.recognise(request)
        allowed = [
            {"id": model.name, "object": "model", "created": model.created_ms // 1000, "owned_by": "openmaas"}
            for model in self._journey.catalog.value.models.values()
            if caller.models is None or model.name in caller.models
        ]
        if path == "/v1/models":
            return msgspec.json.encode({"object": "list", "data": allowed})
        name = path.removeprefix("/v1/models/")
        for model in allowed:
            if model["id"] == name:
                return msgspec.json.encode(model)
        raise ModelUnknown(f"there is no model {name!r}", field="model")

    def _cors(self, request: Request) -> bytes:
        """Cross-origin headers for the origins that the operator named; none by default."""
        origin = request.headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self._cors_origins:
            return b""
        return (
            b"access-control-allow-origin: %b\r\nvary: origin\r\naccess-control-allow-methods: GET, POST, OPTIONS\r\n"
            b"access-control-allow-headers: authorization, content-type, idempotency-key\r\n"
            b"access-control-max-age: 600\r\n" % origin
        )
