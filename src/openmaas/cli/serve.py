"""``openmaas serve``: prepare the folder, start the house, say where it is."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from typing import Any

import click
import msgspec

from openmaas.catalog.book import find_model
from openmaas.catalog.deployments import list_deployments
from openmaas.cli.say import AS_JSON, Progress, plainly, show
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.core.version import VERSION
from openmaas.engines.gguf import gguf_template
from openmaas.engines.weights import locate
from openmaas.house.first_start import First, first_start, offer_model, open_house
from openmaas.house.layout import Layout
from openmaas.house.orders import log_to_stderr
from openmaas.house.serve import House, bind, hold_folder
from openmaas.house.settings import read
from openmaas.store.audit_log import SYSTEM, Actor
from openmaas.store.database import Database


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.")
@click.option("--data", help="Folder of the installation.")
@click.option(
    "--model",
    "models",
    callback=lambda _context, _option, given: given and given.split(","),
    help="Models to offer, by commas: names of `openmaas models list --pullable`, or .gguf paths.",
)
@click.option("--relays", type=int, help="Relay processes.")
@click.option("--log-level", help="debug, info, warning or error.")
@AS_JSON
@plainly
def serve(*, as_json: bool, **given: Any) -> None:
    """Serve a metered chat API until ^C. With --json it prints one line, once it serves."""
    settings = read(given).settings
    log_to_stderr("house", settings.log_level)
    layout, clock = Layout(settings.data, settings.database_url), Clock()
    began_s = time.monotonic()
    layout.prepare()
    held = hold_folder(layout)
    database = open_house(layout)
    listener = bind(settings)
    port = listener.getsockname()[1]
    who = Actor(SYSTEM, clock)
    names = [
        offer_model(database, layout, asked, settings.currency, who, _say, Progress()) for asked in settings.models
    ]
    examples = {name: _example(database, layout, name) for name in names}
    first = first_start(database, layout, settings, clock)
    if first.key:  # said as soon as it is made: what fails or is stopped after this cannot lose it
        click.echo(f"\n  API key (shown this once): {first.key}\n", err=as_json)
    database.close()
    house = House(settings, layout, listener, _say)
    _say(f"starting {' and '.join(names)}")

    def ready() -> None:
        address = f"{'https' if settings.tls_certificate else 'http'}://{settings.host}:{port}"
        if as_json:
            show({"address": address, "key": first.key, "models": names}, as_json=True)
        else:
            _welcome(address, names, first, layout, time.monotonic() - began_s)
            for name, (path, members) in examples.items():
                _say_example(address, first, path, {"model": name, **members})

    try:
        asyncio.run(house.run(ready))
    finally:
        os.close(held)
    logging.shutdown()


def _say(text: str) -> None:
    click.echo(f"· {text}", err=True)


def _example(database: Database, layout: Layout, model: str) -> tuple[str, dict[str, Any]]:
    """What its first request may be: a path and members of the body."""
    if database.look(find_model, model).task == "embed":
        return "embeddings", {"input": "Hello!"}
    if prompt := _prompt(database, layout, model):
        return "completions", {"stream": True, "prompt": prompt}
    return "chat/completions", {"stream": True, "messages": [{"role": "user", "content": "Hello!"}]}


def _prompt(database: Database, layout: Layout, model: str) -> str:
    """What a model that has no chat template may complete; empty for one that has."""
    for found in database.look(list_deployments):
        if found.model != model or found.over:
            continue
        if found.kind == "glm":
            return "Hello [MASK]!"
        if found.kind in ("llama", "openvino"):
            with suppress(OpenmaasError):  # the house says what its engine lacks, and serves the others
                weights = locate(found.weights, layout.weights)
                return weights.prompt or ("" if weights.template or gguf_template(weights.path) else "Once upon a time")
    return ""


def _welcome(address: str, models: list[str], first: First, layout: Layout, took_s: float) -> None:
    click.echo(f"openmaas {VERSION} serves {' and '.join(models)} on {address} ({took_s:.1f} s)\n")
    if not first.key:
        click.echo(f"  a new API key: openmaas keys create --data {layout.data}")
    click.echo(f"  the admin key is in {layout.admin_key}\n")


def _say_example(address: str, first: First, path: str, members: dict[str, Any]) -> None:
    key, body = first.key or "$OPENMAAS_KEY", msgspec.json.encode(members).decode()
    click.echo(f"curl {address}/v1/{path} -H 'Authorization: Bearer {key}' \\")
    click.echo(f"  -H 'Content-Type: application/json' -d '{body}'\n")
