"""Who may ask for what: every route of the OpenAPI document, asked without a key and with one that may not."""

from __future__ import annotations

import http.client
import json
import re

from installation import Installation

#: Signed by a provider, and so without a key.
OPEN = "/payments/"


def asked(house: Installation, method: str, path: str, key: str | None) -> int:
    """The status of a request, with or without a key."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=60)
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request(method, path, None if method == "GET" else b"{}", headers)
        return connection.getresponse().status
    finally:
        connection.close()


def routes(house: Installation) -> list[tuple[str, str]]:
    """Methods and paths, with a name that nothing has in place of each parameter."""
    paths = json.loads(house.ask("GET", "/openapi.json")[2])["paths"]
    return [(method.upper(), re.sub(r"\{[^}]*\}", "x", path)) for path, methods in paths.items() for method in methods]


def test_no_route_of_the_operator_answers_a_customer(echo: Installation) -> None:
    managing = [(method, path) for method, path in routes(echo) if path.startswith("/manage/")]
    assert len(managing) > 50
    assert {route: asked(echo, *route, echo.key) for route in managing} == dict.fromkeys(managing, 403)


def test_no_route_answers_a_stranger(echo: Installation) -> None:
    closed = [(method, path) for method, path in routes(echo) if not path.startswith(OPEN)]
    assert len(closed) > 80
    assert {route: asked(echo, *route, None) for route in closed} == dict.fromkeys(closed, 401)
