"""Settings: read once, strictly, and able to say where each value came from.

Later sources win: the default, ``settings.toml`` in the data folder, the environment (``OPENMAAS_<NAME>``), the command
line. A name that is not here refuses to start and says in which file it stands.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openmaas.core.errors import SettingInvalid
from openmaas.core.money import parse_amount


def _about(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of openmaas; the descriptions are the documentation (`docs/settings.md`)."""

    data: Annotated[str, _about("Folder with the database, journals, keys and weights.")] = "data"
    host: Annotated[str, _about("Address to listen on; 0.0.0.0 opens the service to the network.")] = "127.0.0.1"
    port: Annotated[int, _about("Port to listen on; 0 takes a free one.", ge=0, le=65535)] = 8080
    relays: Annotated[int, _about("Relay processes; one a core is the most that helps.", ge=1, le=64)] = 1
    model: Annotated[str, _about("Model to offer when it is not offered yet: a name, a .gguf path, or echo.")] = (
        "smollm2-135m"
    )
    currency: Annotated[str, _about("Currency of new prices and top-ups.", pattern="^[A-Z]{3}$")] = "CNY"
    starting_credit: Annotated[str, _about("What the first organisation's wallet starts with.")] = "10"
    journal_durability: Annotated[
        Literal["process", "disk"],
        _about("What a journal line survives: `process` the death of a program, `disk` that of the machine."),
    ] = "process"
    seats_per_organisation: Annotated[
        int, _about("Requests an organisation may have in flight on one relay.", ge=1)
    ] = 1_024
    cors_origins: Annotated[
        tuple[str, ...], _about("Origins whose pages may call the API from a browser; none by default.")
    ] = ()
    tls_certificate: Annotated[str, _about("PEM file with the certificate chain; with tls_key it turns TLS on.")] = ""
    tls_key: Annotated[str, _about("PEM file with the certificate's private key.")] = ""
    drain_s: Annotated[float, _about("Seconds that running requests get after SIGTERM.", ge=0, le=3600)] = 30.0
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("Least level that is logged.")] = "info"


class Sourced(msgspec.Struct, frozen=True):
    """The settings and, by name, where each came from."""

    settings: Settings
    sources: dict[str, str]


def read(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Sourced:
    """Settings from all sources; ``given`` are the command line's. Raises ``SettingInvalid`` naming file and key."""
    names = Settings.__struct_fields__
    defaults: dict[str, Any] = dict(zip(names, Settings.__struct_defaults__, strict=True))
    values, sources = dict(defaults), dict.fromkeys(names, "default")

    def take(name: str, value: Any, source: str) -> None:
        if name not in names:
            raise SettingInvalid(f"{source} sets {name!r}, which is not a setting", field=name)
        values[name], sources[name] = value, source

    from_environment = {
        key.removeprefix("OPENMAAS_").lower(): value
        for key, value in environment.items()
        if key.startswith("OPENMAAS_") and not key.startswith(("OPENMAAS_TEST_", "OPENMAAS_COMPLETE"))
    }
    data = given.get("data") or from_environment.get("data") or values["data"]
    path = Path(data) / "settings.toml"
    for name, value in _file(path).items():
        take(name, value, str(path))
    for name, text in from_environment.items():
        value = text.split(",") if isinstance(defaults.get(name), tuple) else text
        take(name, value, f"environment OPENMAAS_{name.upper()}")
    for name, value in given.items():
        if value is not None:
            take(name, value, "command line")
    return Sourced(_check(values, sources), sources)


def _file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not valid TOML: {error}") from None


def _check(values: dict[str, Any], sources: dict[str, str]) -> Settings:
    for name, value in values.items():
        try:  # one at a time, so that the error can name the source
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            raise SettingInvalid(f"{name} from {sources[name]}: {error}", field=name) from None
    settings = msgspec.convert(values, Settings, strict=False)
    if parse_amount(settings.starting_credit, field="starting_credit") < 0:
        raise SettingInvalid("starting_credit must not be negative", field="starting_credit")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingInvalid("tls_certificate and tls_key belong together", field="tls_key")
    return settings
