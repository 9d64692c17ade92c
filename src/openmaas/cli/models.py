"""``openmaas models``: pull weights, offer them, set prices."""

from __future__ import annotations

import click

from openmaas.catalog.book import list_deployments, list_models
from openmaas.cli.rooms import opened
from openmaas.cli.say import AS_JSON, DATA, Progress, plainly, show, table
from openmaas.control.show import show as shown
from openmaas.core.clock import Clock
from openmaas.core.money import parse_amount
from openmaas.engines.weights import catalogue, pull
from openmaas.house.first_start import offer_model
from openmaas.house.layout import Layout
from openmaas.house.settings import read
from openmaas.ledger.prices import price_book, set_price
from openmaas.store.files import private_folder


@click.group()
def models() -> None:
    """Pull, offer and price models."""


@models.command("list")
@DATA
@click.option("--pullable", is_flag=True, help="What `openmaas models pull` knows.")
@AS_JSON
@plainly
def list_(data: str, pullable: bool, as_json: bool) -> None:
    """List offered models with their prices per million tokens."""
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
    now_ms = Clock().wall_ms()
    found = []
    for model in offered:
        price = prices.at(model.name, now_ms)
        row = shown(model)
        row["deployments"] = sum(d.model == model.name and d.wanted == "running" for d in running)
        if price is not None:
            row |= {k: v for k, v in shown(price).items() if k in ("input", "cached", "output", "currency")}
        found.append(row)
    columns = ("name", "task", "context_tokens", "deployments", "input", "cached", "output", "currency")
    show(found, as_json=as_json, text=table(found, columns))


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
@AS_JSON
@plainly
def offer(data: str, name: str, as_json: bool) -> None:
    """Offer a model: NAME of pulled weights, or a .gguf path. A running house starts its engine at once."""
    with opened(data) as (database, layout):
        settings = read({"data": data, "model": name}).settings
        found = offer_model(
            database, layout, settings, Clock(), lambda text: click.echo(f"· {text}", err=True), Progress()
        )
    show({"model": found}, as_json=as_json, text=f"{found} is offered")


@models.command()
@DATA
@click.argument("name")
@click.option("--input", "input_", required=True, help="Currency units per million prompt tokens.")
@click.option("--output", required=True, help="Currency units per million generated tokens.")
@click.option("--cached", help="Per million prompt tokens read from the cache; the input price when not given.")
@click.option("--currency", help="Three letters; the setting `currency` when not given.")
@AS_JSON
@plainly
def price(
    data: str, name: str, input_: str, output: str, cached: str | None, currency: str | None, as_json: bool
) -> None:
    """Set the price of model NAME from now on."""
    with opened(data) as (database, _):
        made = database.call(
            set_price,
            model=name,
            currency=currency or read({"data": data}).settings.currency,
            input_nanos=parse_amount(input_, field="input"),
            output_nanos=parse_amount(output, field="output"),
            cached_nanos=None if cached is None else parse_amount(cached, field="cached"),
            from_ms=Clock().wall_ms(),
        )
    row = shown(made)
    show(row, as_json=as_json, text=table([row], ("model", "version", "input", "cached", "output", "currency")))
