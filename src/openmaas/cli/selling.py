"""Commands for what is sold and given: plans, subscriptions, packs, budgets, credit lines, vouchers, refunds, agents.

Each is a route of the management API, called in this process on the installation's own database: the same checks, the
same words, the same audit log. ``ROUTES`` says which; arguments and options are made of its path and of the shape of
its body.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import quote, unquote, urlencode

import click
import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from openmaas.cli.rooms import OPERATOR, one_organisation, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, fail, plainly, show, table
from openmaas.control import shapes
from openmaas.control import shapes_funds as funds
from openmaas.control import shapes_money as money
from openmaas.control import shapes_webhooks as hooks
from openmaas.control.app import MANAGE, own_app
from openmaas.control.shapes import SECRET
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.house.control import build_rooms
from openmaas.house.settings import read
from openmaas.store.changes import Follower

_OWNER = "/organisations/{organisation_id}"


class Route(NamedTuple):
    """One command: the route behind it, the shape of its body, and what its help says; ``asks`` are the members of its
    query beside the page."""

    method: str
    path: str
    help: str
    shape: type[BaseModel] | None = None
    asks: tuple[str, ...] = ()


ROUTES: dict[str, dict[str, Route]] = {
    "plans": {
        "list": Route("GET", "/plans", "List the plans that are for sale."),
        "create": Route("POST", "/plans", "Offer a plan.", funds.NewPlan),
    },
    "subscriptions": {
        "list": Route("GET", "/subscriptions", "List who has subscribed to what.", asks=("organisation_id",)),
        "start": Route(
            "POST", f"{_OWNER}/subscriptions", "Begin a subscription; a month is paid.", funds.NewSubscription
        ),
        "change": Route(
            "PATCH", "/subscriptions/{subscription_id}", "Change plan or renewal.", funds.ChangedSubscription
        ),
    },
    "packs": {
        "list": Route("GET", f"{_OWNER}/packs", "List an organisation's resource packs."),
        "grant": Route("POST", f"{_OWNER}/packs", "Give or sell a resource pack.", funds.NewPack),
    },
    "budgets": {
        "list": Route("GET", f"{_OWNER}/budgets", "List an organisation's budgets."),
        "set": Route("POST", f"{_OWNER}/budgets", "Set the most that may be spent in a period.", funds.NewBudget),
        "change": Route("PATCH", "/budgets/{budget_id}", "Change a budget's amount.", funds.NewAmount),
        "end": Route("DELETE", "/budgets/{budget_id}", "End a budget."),
    },
    "credit": {"set": Route("PUT", f"{_OWNER}/credit", "Say how far a wallet may go below 0.", funds.NewCredit)},
    "payers": {
        "show": Route("GET", f"{_OWNER}/payer", "Show how an organisation pays."),
        "set": Route("PUT", f"{_OWNER}/payer", "Say how it pays, and what its invoices say.", funds.NewPayer),
    },
    "vouchers": {
        "list": Route("GET", "/voucher-batches", "List batches of vouchers."),
        "issue": Route("POST", "/voucher-batches", "Issue vouchers; their codes are shown once.", money.NewBatch),
        "end": Route("DELETE", "/voucher-batches/{batch_id}", "End a batch: its codes are worth nothing."),
    },
    "refunds": {
        "list": Route("GET", f"{_OWNER}/refunds", "List an organisation's refunds."),
        "begin": Route("POST", f"{_OWNER}/refunds", "Set money aside that is to be paid out.", money.NewRefund),
        "post": Route("POST", "/refunds/{refund_id}/post", "The money has been paid out."),
        "void": Route("POST", "/refunds/{refund_id}/void", "It will not be: the wallet has it back."),
        "credit-note": Route("POST", f"{_OWNER}/credit-notes", "Give back what was charged.", money.NewCreditNote),
    },
    "webhooks": {
        "list": Route("GET", f"{_OWNER}/webhooks", "List where an organisation listens."),
        "create": Route("POST", f"{_OWNER}/webhooks", "Listen; the secret is shown once.", hooks.NewWebhook),
        "change": Route("PATCH", f"{_OWNER}/webhooks/{{endpoint_id}}", "Change it.", hooks.ChangedWebhook),
        "delete": Route("DELETE", f"{_OWNER}/webhooks/{{endpoint_id}}", "Listen no more."),
        "rotate": Route("POST", f"{_OWNER}/webhooks/{{endpoint_id}}/rotate", "A new secret; both sign for a day."),
        "deliveries": Route(
            "GET", f"{_OWNER}/webhooks/{{endpoint_id}}/deliveries", "What it was told, newest first.", asks=("state",)
        ),
        "replay": Route("POST", f"{_OWNER}/webhooks/{{endpoint_id}}/replay", "Deliver again.", hooks.Replay),
        "test": Route("POST", f"{_OWNER}/webhooks/{{endpoint_id}}/test", "Send something harmless."),
    },
    "agents": {
        "list": Route("GET", "/agents", "List the agents that are offered."),
        "show": Route("GET", "/agents/{agent_id}", "Show an agent with its prompt."),
        "create": Route("POST", "/agents", "Offer an agent; general_translation needs a model only.", shapes.NewAgent),
        "change": Route("PATCH", "/agents/{agent_id}", "Change an agent.", shapes.ChangedAgent),
        "delete": Route("DELETE", "/agents/{agent_id}", "Offer it no more."),
    },
    "orders": {
        "list": Route("GET", "/orders", "List top-ups that were asked for.", asks=("organisation_id",)),
        "create": Route("POST", "/orders", "Ask for a top-up.", money.NewOrderFor),
        "paid": Route("POST", "/orders/{order_id}/pay", "Money came in by bank.", money.NewPayment),
    },
}
_HELP = {
    "agents": "Agents: a model with a task that you wrote for it.",
    "webhooks": "Where customers listen, and what they were told.",
    "plans": "Plans for sale: windows of credits, by the month.",
    "subscriptions": "Who has subscribed to a plan.",
    "packs": "Resource packs: so many tokens, for some models, until a day.",
    "budgets": "The most that may be spent of a wallet in a period.",
    "credit": "Credit lines: pay afterwards.",
    "payers": "How an organisation pays: currency, zone, taxes, address.",
    "vouchers": "Codes that put an amount into a wallet, once.",
    "refunds": "Money that goes back.",
    "orders": "Top-ups that customers ask for, and the payments that pay them.",
}


def command(name: str, route: Route) -> click.Command:
    """A route as a command."""

    def run(data: str, as_json: bool, **given: Any) -> None:
        told = {key: value for key, value in given.items() if value is not None and value != ()}
        with opened(data) as (database, layout):
            if "{organisation_id}" in route.path or "organisation_id" in _fields(route):
                told["organisation_id"] = database.look(one_organisation, told.pop("organisation", None))
            elif "organisation" in told:
                told["organisation_id"] = database.look(one_organisation, told.pop("organisation"))
            clock = Clock()
            rooms = build_rooms(read({"data": data}).settings, layout, clock, database, Follower(database, clock))
            app = own_app(rooms, OPERATOR)
            status, answer = asyncio.run(_ask(app, *_request(route, told)))
        if status >= 400:
            fail(answer["error"], as_json=as_json)
        show(answer, as_json=as_json, text=_text(answer))

    made: Callable[..., None] = plainly(run)
    for option in reversed([*_places(route), *_options(route), *([LIMIT] if route.method == "GET" else [])]):
        made = option(made)
    return click.command(name, help=route.help)(DATA(AS_JSON(made)))


def _fields(route: Route) -> dict[str, FieldInfo]:
    return {} if route.shape is None else route.shape.model_fields


def _places(route: Route) -> Iterable[Callable[..., Any]]:
    """What stands in the path; an organisation may be named, and need not be when there is one."""
    if "{organisation_id}" in route.path or "organisation_id" in _fields(route):
        yield click.option("--organisation", help="Its name or id; not needed when there is one.")
    for name in route.asks:
        option = name.removesuffix("_id")
        yield click.option(f"--{option}", help=f"Only those of this {option}.")
    for part in route.path.split("/"):
        if part.startswith("{") and part != "{organisation_id}":
            yield click.argument(part[1:-1])
    if route.method == "GET":
        yield click.option("--after", default=None, help="Go on after this one.")


def _options(route: Route) -> Iterable[Callable[..., Any]]:
    """The members of the body."""
    for name, field in _fields(route).items():
        if name == "organisation_id":
            continue
        option = f"--{name.replace('_', '-')}"
        needed = field.is_required() and name != "request_key"
        said = field.description or "; ".join(f"Such as {each}." for each in field.examples or ())
        kind, many = _kind(field.annotation)
        if field.json_schema_extra == SECRET:
            yield click.option(option, name, type=click.File(), help=f"A file that has it; - reads it. {said}")
        elif kind is dict:
            yield click.option(option, name, multiple=True, help=f"name=value; once for each. {said}".strip())
        elif kind is bool:
            yield click.option(f"{option}/--no-{option[2:]}", name, default=None, help=said)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            form = ",".join(f"{each}=…" for each in kind.model_fields)
            yield click.option(
                option, name, multiple=True, required=needed, help=f"{form}; once for each. {kind.__doc__}"
            )
        else:
            typed = click.Choice(get_args(kind)) if get_origin(kind) is Literal else kind
            yield click.option(option, name, type=typed, multiple=many, required=needed, help=said)


def _kind(annotation: Any) -> tuple[Any, bool]:
    """What one value of a member is, and whether there may be many."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is list:
        return _kind(inner[0])[0], True
    if origin is dict:
        return dict, True
    if hasattr(annotation, "__metadata__"):
        return _kind(inner[0])
    if inner and type(None) in inner:
        return _kind(next(each for each in inner if each is not type(None)))
    return annotation, False


def _request(route: Route, told: dict[str, Any]) -> tuple[str, str, str, bytes]:
    """Method, path, query and body."""
    path = MANAGE + route.path
    for name in list(told):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(str(told.pop(name)), safe=""))
    if route.method == "GET":
        return route.method, path, urlencode(told), b""
    if route.shape is None:
        return route.method, path, "", b""
    fields = _fields(route)
    if "request_key" in fields and "request_key" not in told:
        told["request_key"] = Clock().new_id("cli")
    body = {name: _value(name, fields[name], value) for name, value in told.items()}
    return route.method, path, "", json.dumps(body).encode()


def _value(name: str, field: FieldInfo, value: Any) -> Any:
    """An option's value as the body has it; ``name=5h,kind=rolling`` is a member of its own."""
    kind, many = _kind(field.annotation)
    if field.json_schema_extra == SECRET:
        return value.read().strip()
    if not many:
        return value
    if kind is dict:
        return dict(_pair(name, text) for text in value)
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return list(value)
    return [_member(name, kind, text) for text in value]


def _pair(name: str, text: str) -> tuple[str, Any]:
    """``threads=4`` as a number, ``words=/a/file`` as a text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise FieldInvalid(f"--{name.replace('_', '-')} is written name=value, not {text!r}")
    try:
        return key, msgspec.json.decode(value, type=bool | int | float)
    except msgspec.DecodeError:
        return key, value


def _member(name: str, kind: type[BaseModel], text: str) -> dict[str, Any]:
    # A comma parts members where the name of one follows it; any other belongs to what is said.
    pairs = [part.partition("=") for part in re.split(f",(?=(?:{'|'.join(kind.model_fields)})=)", text)]
    if not all(equals for _, equals, _ in pairs):
        raise FieldInvalid(f"--{name.replace('_', '-')} is written {','.join(kind.model_fields)}, each as name=value")
    numbers = {each for each, field in kind.model_fields.items() if _kind(field.annotation)[0] is int}
    return {key: int(value) if key in numbers and value.isdigit() else value for key, _, value in pairs}


async def _ask(app: Any, method: str, path: str, query: str, body: bytes) -> tuple[int, Any]:
    """One request to an ASGI application, without a socket. https://asgi.readthedocs.io/en/latest/specs/www.html"""
    told: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told["status"] = message.get("status", told.get("status"))
        told["body"] += message.get("body", b"")

    headers = [(b"content-type", b"application/json")] if body else []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": unquote(path)}
    more = {"raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "root_path": ""}
    await app({**scope, **more, "scheme": "http", "client": None, "server": None}, receive, send)
    return int(told["status"]), msgspec.json.decode(told["body"])


def _text(answer: dict[str, Any]) -> str:
    """For people: a list as a table, one thing as lines."""
    if answer.get("object") == "list":
        rows = [{name: _plain(value) for name, value in row.items()} for row in answer["data"]]
        text = table(rows, rows[0] if rows else ())
        return text + (f"\nmore: --after {answer['next_after']}" if answer["next_after"] else "")
    return "\n".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in answer.items())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(str(_plain(each)) for each in value)
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return value


for _noun, _routes in ROUTES.items():
    globals()[_noun] = click.Group(_noun, [command(each, route) for each, route in _routes.items()], help=_HELP[_noun])
