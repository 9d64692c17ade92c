"""The command line. Each group has its own file; this one puts them together and holds ``serve``."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import click
import msgspec

from openmaas.catalog.book import find_model
from openmaas.cli import chat, keys, ledger, models
from openmaas.cli.doctor import doctor
from openmaas.cli.say import AS_JSON, DATA, Progress, plainly, show, table
from openmaas.core.clock import Clock
from openmaas.core.version import VERSION
from openmaas.house.first_start import First, first_start, offer_model, open_house
from openmaas.house.layout import Layout
from openmaas.house.orders import log_to_stderr
from openmaas.house.serve import House, bind, hold_folder
from openmaas.house.settings import Settings, read


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="openmaas")
def main() -> None:
    """Model as a Service: serve, meter and bill language models.

    Begin with `openmaas serve`. Shell completion: eval "$(_OPENMAAS_COMPLETE=bash_source openmaas)".
    """


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.")
@click.option("--data", help="Folder of the installation.")
@click.option("--model", help="Model to offer: a name of `openmaas models list --pullable`, or a .gguf path.")
@click.option("--relays", type=int, help="Relay processes.")
@click.option("--log-level", help="debug, info, warning or error.")
@plainly
def serve(**given: Any) -> None:
    """Serve a metered chat API until ^C."""
    settings = read(given).settings
    log_to_stderr("house", settings.log_level)
    layout, clock = Layout(settings.data), Clock()
    began_s = time.monotonic()
    layout.prepare()
    held = hold_folder(layout)
    database = open_house(layout)
    first = first_start(database, layout, settings, clock)
    name = offer_model(database, layout, settings, clock, _say, Progress())
    embeds = database.look(find_model, name).task == "embed"
    database.close()
    listener = bind(settings)
    port = listener.getsockname()[1]
    house = House(settings, layout, listener, _say)
    _say(f"starting {name}")

    def ready() -> None:
        _welcome(settings, port, name, first, layout, time.monotonic() - began_s, embeds=embeds)

    try:
        asyncio.run(house.run(ready))
    finally:
        os.close(held)
    logging.shutdown()


@main.command()
@DATA
@AS_JSON
@plainly
def settings(data: str, as_json: bool) -> None:
    """Print every setting, its value and where it came from."""
    found = read({"data": None if data == "data" else data})
    values = msgspec.structs.asdict(found.settings)
    rows = [{"setting": k, "value": _text(v), "from": found.sources[k]} for k, v in values.items()]
    show(rows, as_json=as_json, text=table(rows, ("setting", "value", "from")))


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _say(text: str) -> None:
    click.echo(f"· {text}", err=True)


def _welcome(
    settings: Settings, port: int, model: str, first: First, layout: Layout, took_s: float, *, embeds: bool
) -> None:
    scheme = "https" if settings.tls_certificate else "http"
    address = f"{scheme}://{settings.host}:{port}"
    key = first.key or "$OPENMAAS_KEY"
    click.echo(f"openmaas {VERSION} serves {model} on {address} ({took_s:.1f} s)")
    if first.key:
        click.echo(f"\n  API key (shown this once): {first.key}")
    else:
        click.echo(f"\n  a new API key: openmaas keys create --data {settings.data}")
    click.echo(f"  admin key: {layout.admin_key}\n")
    path, body = (
        "chat/completions",
        f'{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Hello!"}}]}}',
    )
    if embeds:
        path, body = "embeddings", f'{{"model":"{model}","input":"Hello!"}}'
    click.echo(f"curl {address}/v1/{path} -H 'Authorization: Bearer {key}' \\")
    click.echo(f"  -H 'Content-Type: application/json' -d '{body}'\n")


for command in (chat.chat, keys.keys, models.models, ledger.topup, ledger.usage, ledger.ledger, doctor):
    main.add_command(command)
