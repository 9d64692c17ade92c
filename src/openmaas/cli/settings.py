"""``openmaas settings``: every setting and where it came from."""

from __future__ import annotations

import re
from typing import Any

import click
import msgspec

from openmaas.cli.say import AS_JSON, DATA, plainly, show, table
from openmaas.house.settings import read

#: The password in the URL of a database.
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@]*@")


@click.command()
@DATA
@AS_JSON
@plainly
def settings(data: str, as_json: bool) -> None:
    """Print every setting, its value and where it came from."""
    found = read({"data": None if data == "data" else data})
    values = msgspec.structs.asdict(found.settings)
    rows = [{"setting": k, "value": _text(k, v), "from": found.sources[k]} for k, v in values.items()]
    show(rows, as_json=as_json, text=table(rows, ("setting", "value", "from")))


def _text(name: str, value: Any) -> str:
    if name.endswith("_secret"):
        return "…" if value else ""
    return _PASSWORD.sub(r"\1:…@", ", ".join(value) if isinstance(value, tuple) else str(value))
