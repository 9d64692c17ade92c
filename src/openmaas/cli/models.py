"""``openmaas models``: pull weights, offer them, attach what runs elsewhere, stop and start, give names, set prices."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from pathlib import Path

import click
import msgspec
import sqlalchemy as sa

from openmaas.catalog.aliases import list_aliases, remove_alias
from openmaas.catalog.book import find_model, list_models
from openmaas.catalog.deployments import Deployment, change_deployment, find_deployments, list_deployments
from openmaas.cli.rooms import OPERATOR, one_project, opened
from openmaas.cli.say import AS_JSON, DATA, Progress, plainly, show, table
from openmaas.cli.selling import Route, command
from openmaas.control.manage_aliases import place_alias
from openmaas.control.price_files import import_prices, read_prices
from openmaas.control.pricing import show_price, units_of
from openmaas.control.shapes import ChangedDeployment, NewDeployment, NewFallbacks, NewModel, NewTrainer
from openmaas.control.show import show as shown
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import parse_amount
from openmaas.core.terms import Terms, flat
from openmaas.core.usage import UNITS
from openmaas.engines.profile import read_profile
from openmaas.engines.pull import pull
from openmaas.engines.weights import catalogue, locate
from openmaas.house.adopting import adopt
from openmaas.house.first_start import offer_model
from openmaas.house.layout import Layout
from openmaas.house.settings import read
from openmaas.ledger.prices import price_book, set_price
from openmaas.store.audit_log import audited
from openmaas.store.files import private_folder

_PRICED = ("input", "cached", "output", "units", "currency")


@click.group()
def models() -> None:
    """Pull, offer, attach, stop and price models."""


_ADD = Route("POST", "/models", "Offer a model by name; `attach` runs it.", NewModel)
_ATTACH = Route("POST", "/deployments", "Run a model: an engine here, or an endpoint by --url.", NewDeployment)
_TRAINER = Route("PUT", "/models/{name}/trainer", "Say what runs the tuning jobs of a model.", NewTrainer)
_DEPLOYMENTS = Route("GET", "/deployments", "List deployments: what runs each model, and what it gets.")
_CHANGE = Route(
    "PATCH", "/deployments/{deployment_id}", "Say what a deployment gets of the requests.", ChangedDeployment
)
_NO_FALLBACKS = Route("DELETE", "/models/{name}/fallbacks", "Let no other model stand in for one.")
_FALLBACKS = Route("PUT", "/models/{name}/fallbacks", "Say which models stand in for one that is full.", NewFallbacks)
models.add_command(command("add", _ADD))
models.add_command(command("attach", _ATTACH))
models.add_command(command("trainer", _TRAINER))
models.add_command(command("deployments", _DEPLOYMENTS))
models.add_command(command("change", _CHANGE))
models.add_command(command("fallbacks", _FALLBACKS))
models.add_command(command("no-fallbacks", _NO_FALLBACKS))


@models.command("list")
@DATA
@click.option("--pullable", is_flag=True, help="What `openmaas models pull` knows.")
@AS_JSON
@plainly
def list_(data: str, pullable: bool, as_json: bool) -> None:
    """List offered models with their prices per million tokens, in the currency of the settings."""
    if pullable:
        rows = [
            {"name": w.name, "kind": w.kind, "megabytes": w.size_bytes // 10**6, "licence": w.licence}
            for w in catalogue()
        ]
        show(rows, as_json=as_json, text=table(rows, ("name", "kind", "megabytes", "licence")))
        return
    with opened(data) as (database, _):
        offered, prices = database.look(list_models), database.look(price_book)
        running = database.look(list_deployments)
    now_ms, currency = Clock().wall_ms(), read({"data": data}).settings.currency
    found = []
    for model in offered:
        price = prices.at(model.name, now_ms, currency)
        row = shown(model)
        row["deployments"] = sum(d.model == model.name and d.wanted == "running" for d in running)
        if price is not None:
            row |= {k: v for k, v in show_price(price).items() if k in _PRICED}
        found.append(row)
    columns = ("name", "task", "context_tokens", "deployments", "fallbacks", *_PRICED)
    rows = [row | {"fallbacks": ", ".join(row["fallbacks"]) or None} for row in found]
    show(found, as_json=as_json, text=table(rows, columns))


@models.command("pull")
@DATA
@click.argument("name")
@AS_JSON
@plainly
def pull_(data: str, name: str, as_json: bool) -> None:
    """Fetch weights by NAME; goes on where an interrupted pull stopped."""
    layout = Layout(data)
    private_folder(layout.weights)
    path = pull(name, layout.weights, Progress())
    show({"name": name, "path": str(path)}, as_json=as_json, text=f"{name} is here; `openmaas models offer {name}`")


@models.command()
@DATA
@click.argument("name")
@click.option("--profile", type=click.Path(path_type=Path), help="What `openmaas sweep` found: engine and settings.")
@AS_JSON
@plainly
def offer(data: str, name: str, profile: Path | None, as_json: bool) -> None:
    """Offer a model: NAME of pulled weights, or a .gguf path. A running house starts its engine at once.

    With --profile, engines that run it with the same weights end after the answers that run, and those of the profile
    take their place.
    """
    fastest = None if profile is None else read_profile(profile)
    with opened(data) as (database, layout):
        currency = read({"data": data}).settings.currency
        found = offer_model(
            database, layout, name, currency, OPERATOR, lambda text: click.echo(f"· {text}", err=True), Progress()
        )
        told: dict[str, object] = {"model": found}
        if fastest is not None:
            adopted = audited(OPERATOR, "model.adopt", found, adopt, {"setting": str(fastest.best)})
            told["deployments"] = [shown(row) for row in database.call(adopted, OPERATOR, found, fastest)]
    show(told, as_json=as_json, text=f"{found} is offered" + (f", {fastest.best}" if fastest else ""))


@models.command()
@DATA
@click.argument("name")
@AS_JSON
@plainly
def stop(data: str, name: str, as_json: bool) -> None:
    """Stop NAME: every deployment of a model, or the one with this id. It stays known; `models start` brings it back.

    A running house ends its engines at once, after the answers that run; later requests get 503 model_not_ready.
    """
    _want(data, name, "stopped", as_json)


@models.command()
@DATA
@click.argument("name")
@AS_JSON
@plainly
def start(data: str, name: str, as_json: bool) -> None:
    """Start what was stopped: every deployment of the model NAME, or the one with this id."""
    _want(data, name, "running", as_json)


def _want(data: str, name: str, wanted: str, as_json: bool) -> None:
    def book(tx: sa.Connection) -> list[Deployment]:
        return [change_deployment(tx, found.id, {"wanted": wanted}) for found in find_deployments(tx, name)]

    with opened(data) as (database, layout):
        if wanted == "running":  # said here, not in a log when its engine cannot start
            for deployment in database.look(find_deployments, name):
                if deployment.weights and not deployment.over:
                    locate(deployment.weights, layout.weights)
        want = audited(OPERATOR, "deployment.change", name, book, {"wanted": wanted})
        rows = [shown(deployment) for deployment in database.call(want)]
    show(rows, as_json=as_json, text=table(rows, ("id", "model", "kind", "wanted")))


@models.command()
@DATA
@click.argument("pattern")
@click.argument("model", required=False)
@click.option("--project", help="The only project for which it holds, before all names: its name or id.")
@click.option("--organisation", help="Of that project; not needed when there is one.")
@click.option("--remove", is_flag=True, help="PATTERN names nothing any more.")
@AS_JSON
@plainly
def alias(
    data: str,
    pattern: str,
    model: str | None,
    project: str | None,
    organisation: str | None,
    remove: bool,
    as_json: bool,
) -> None:
    """Let PATTERN name MODEL: `models alias 'claude-*' glm-4.7`. * at its end stands for any end; the longest counts.

    Price, receipt and what a key may use are those of the model. A running house knows within a second.
    """
    if remove == bool(model):
        raise FieldInvalid("name a MODEL, or say --remove", field="model")
    with opened(data) as (database, _):
        project_id = "" if project is None else database.look(one_project, organisation, project)
        if model is None:
            database.call(audited(OPERATOR, "alias.remove", pattern, remove_alias), pattern, project_id)
            row = {"pattern": pattern, "project_id": project_id, "removed": True}
        else:
            told = {"pattern": pattern, "model": model, "project_id": project_id}
            place = audited(OPERATOR, "alias.set", attrgetter("pattern"), place_alias, told)
            row = shown(database.call(place, Clock(), pattern, model, project_id))
    show(row, as_json=as_json, text=f"{pattern} is removed" if remove else f"{row['pattern']} is {model}")


@models.command()
@DATA
@click.option("--project", help="The names that this project, by its name or id, has of its own.")
@click.option("--organisation", help="Of that project; not needed when there is one.")
@AS_JSON
@plainly
def aliases(data: str, project: str | None, organisation: str | None, as_json: bool) -> None:
    """List the other names of models."""
    with opened(data) as (database, _):
        project_id = "" if project is None else database.look(one_project, organisation, project)
        rows = [shown(row) for row in database.look(partial(list_aliases, project_id=project_id))]
    show(rows, as_json=as_json, text=table(rows, ("pattern", "model", "created_at")))


@models.command()
@DATA
@click.argument("name")
@click.option("--input", "input_", help="Currency units per million prompt tokens.")
@click.option("--output", help="Currency units per million generated tokens.")
@click.option("--unit", multiple=True, help=f"Such as call=0.01; once for each of {', '.join(UNITS)}.")
@click.option("--cached", help="Per million prompt tokens read from the cache; the input price when not given.")
@click.option("--currency", help="Three letters; the setting `currency` when not given.")
@AS_JSON
@plainly
def price(
    data: str,
    name: str,
    input_: str | None,
    output: str | None,
    unit: tuple[str, ...],
    cached: str | None,
    currency: str | None,
    as_json: bool,
) -> None:
    """Set the price of model NAME from now on: --input and --output, or --unit for what counts no tokens."""
    told = {"model": name, "input": input_, "output": output, "cached": cached, "currency": currency, "unit": unit}
    terms = _terms(input_, output, cached, dict(each.partition("=")[::2] for each in unit))
    with opened(data) as (database, _):
        database.look(find_model, name)
        made = database.call(
            audited(OPERATOR, "price.set", lambda made: str(made.version), set_price, told),
            model=name,
            currency=currency or read({"data": data}).settings.currency,
            terms=terms,
            from_ms=Clock().wall_ms(),
        )
    row = show_price(made)
    show(row, as_json=as_json, text=table([row], ("model", "version", *_PRICED)))


def _terms(input_: str | None, output: str | None, cached: str | None, units: dict[str, str]) -> Terms:
    for name in units:
        if name not in UNITS:
            raise FieldInvalid(f"--unit is such as call=0.01; units are {', '.join(UNITS)}", field="unit")
    for field, text in (("input", input_), ("output", output)):
        if text is None and not units:
            raise FieldInvalid(f"say --{field}, or --unit for a model that counts no tokens", field=field)
    made = flat(
        parse_amount(input_ or "0", field="input"),
        parse_amount(output or "0", field="output"),
        None if cached is None else parse_amount(cached, field="cached"),
    )
    return msgspec.structs.replace(made, units=units_of(units))


@models.command()
@DATA
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be set, and set nothing.")
@AS_JSON
@plainly
def prices(data: str, file: Path, dry_run: bool, as_json: bool) -> None:
    """Set the prices of FILE, all or none; those that count already are left alone.

    FILE is TOML, each [[prices]] as `POST /manage/v1/prices` takes it; prices/ has the published ones.
    """
    entries = read_prices(file, read({"data": data}).settings.currency)
    book = partial(import_prices, entries=entries, now_ms=Clock().wall_ms(), dry_run=dry_run)
    with opened(data) as (database, _):
        found = database.look(book) if dry_run else database.call(audited(OPERATOR, "price.import", file.name, book))
    rows = [{"change": change, **show_price(price)} for change, price in found]
    fresh = sum(row["change"] == "new" for row in rows)
    columns = ("change", "model", "version", "input", "cached", "output", "currency", "from_at", "until_at")
    said = f"{fresh} {'would be new' if dry_run else 'new'}, {len(rows) - fresh} unchanged"
    show(rows, as_json=as_json, text=f"{table(rows, columns)}\n{said}")
