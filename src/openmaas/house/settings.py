"""Settings: read once, strictly, and able to say where each value came from.

Later sources win: the default, ``settings.toml`` in the data folder, the environment (``OPENMAAS_<NAME>``), the command
line. A name that is not here refuses to start and says in which file it stands.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openmaas.core.bounds import RESPONSES_DAYS_MAX
from openmaas.core.errors import SettingInvalid
from openmaas.core.money import parse_amount


def _about(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


#: What `openmaas chat` reads: who exports their key must still be able to run everything else.
OF_CLIENTS = frozenset({"OPENMAAS_KEY", "OPENMAAS_URL"})

#: TLS with an s at the end; Redis is spoken to in the same words.
VALKEY_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of openmaas; the descriptions are the documentation (`docs/settings.md`)."""

    data: Annotated[str, _about("Folder with the database, journals, keys and weights.")] = "data"
    database_url: Annotated[
        str, _about("postgresql://user:password@host/name; empty keeps an SQLite file in the data folder.")
    ] = ""
    valkey_url: Annotated[
        str, _about("valkey://host:port or unix:///path; relays share rate limits there instead of in the database.")
    ] = ""
    host: Annotated[str, _about("Address to listen on; 0.0.0.0 opens the service to the network.")] = "127.0.0.1"
    port: Annotated[int, _about("Port to listen on; 0 takes a free one.", ge=0, le=65535)] = 8080
    region: Annotated[
        str, _about("Where this house is, in your words: deployments of another `region` are its second choice.")
    ] = ""
    relays: Annotated[int, _about("Relay processes; one a core is the most that helps.", ge=1, le=64)] = 1
    models: Annotated[
        tuple[str, ...],
        _about("Models to offer when not yet offered: names, .gguf files, folders of classic GLMs, or echo."),
    ] = ("smollm2-135m", "openglm-small")
    currency: Annotated[
        str, _about("Currency of new prices and top-ups, and of who was given no other.", pattern="^[A-Z]{3}$")
    ] = "CNY"
    starting_credit: Annotated[str, _about("What the first organisation's wallet starts with.")] = "10"
    stripe_webhook_secret: Annotated[
        str, _about("Signing secret of Stripe's webhook to `/payments/stripe`; empty takes none.")
    ] = ""
    webhooks_private: Annotated[
        bool, _about("Let webhooks go to private networks and over plain HTTP: for a house without the internet.")
    ] = False
    journal_durability: Annotated[
        Literal["process", "disk"],
        _about("What a journal line survives: `process` the death of a program, `disk` that of the machine."),
    ] = "process"
    invoices_automatic: Annotated[bool, _about("Issue the invoices of each month when it has ended.")] = False
    invoice_prefix: Annotated[
        str,
        _about("What numbers of invoices begin with; they count for each prefix and year.", pattern="^[A-Z0-9]{1,12}$"),
    ] = "INV"
    issuer_name: Annotated[str, _about("Legal name of the operator, on invoices.")] = ""
    issuer_address: Annotated[str, _about("Its address, on invoices.")] = ""
    issuer_tax_id: Annotated[str, _about("Its tax number, on invoices.")] = ""
    responses_days: Annotated[
        int,
        _about(
            "Days that answers are kept whose callers ask for it (`store`); a project may have its own. 0 keeps none, "
            "whatever a project says, and deletes those that are kept.",
            ge=0,
            le=RESPONSES_DAYS_MAX,
        ),
    ] = 30
    seats_per_organisation: Annotated[
        int, _about("Requests an organisation may have in flight on one relay, whatever its limits.", ge=1)
    ] = 1_024
    files_folder: Annotated[
        str, _about("Folder of customers' files; several hosts name one that they share. Empty: in the data folder.")
    ] = ""
    files_bytes_per_project: Annotated[int, _about("Bytes that the files of one project may have together.", ge=0)] = (
        10 * 1024**3
    )
    batch_concurrency: Annotated[
        int, _about("Lines of batches that this host asks at once; fewer than an engine has slots.", ge=1, le=4096)
    ] = 2
    task_concurrency: Annotated[int, _about("Async tasks that this host runs at once.", ge=1, le=4096)] = 4
    tuning_concurrency: Annotated[
        int,
        _about(
            "Models that this host tunes at once, where `make setup-glm` was run; 0 leaves it to others.", ge=0, le=64
        ),
    ] = 1
    tuning_rank: Annotated[
        int, _about("Rank of the adapters by which a model is tuned; 0 moves every weight.", ge=0, le=1024)
    ] = 16
    tuning_ms_swift: Annotated[
        str, _about("Command that starts ms-swift here: its name, a path, or more words, such as `ssh -tt gpu swift`.")
    ] = "swift"
    tuning_llama_factory: Annotated[str, _about("The same for LLaMA-Factory.")] = "llamafactory-cli"
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
        if key.startswith("OPENMAAS_") and not key.startswith("OPENMAAS_TEST_") and key not in OF_CLIENTS
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
    try:
        return tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise SettingInvalid(f"{path} cannot be read: {error.strerror}") from None


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
    if settings.tls_certificate:
        _check_tls(settings, sources)
    if settings.valkey_url:
        _check_valkey(settings, sources)
    return settings


def _check_valkey(settings: Settings, sources: dict[str, str]) -> None:
    if settings.valkey_url.partition("://")[0] not in VALKEY_SCHEMES:
        said = f"valkey_url from {sources['valkey_url']} must begin with one of {', '.join(VALKEY_SCHEMES)}, then ://"
        raise SettingInvalid(said, field="valkey_url")
    if importlib.util.find_spec("redis") is None:
        said = "valkey_url names Valkey, whose client is not installed; run: make setup-valkey"
        raise SettingInvalid(said, field="valkey_url")


def _check_tls(settings: Settings, sources: dict[str, str]) -> None:
    """Here, and not in each relay at each of its starts."""
    for name in ("tls_certificate", "tls_key"):
        if not os.access(getattr(settings, name), os.R_OK):
            raise SettingInvalid(f"{name} from {sources[name]} cannot be read: {getattr(settings, name)}", field=name)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        said = f"tls_certificate and tls_key are not a PEM certificate and its unencrypted key: {error}"
        raise SettingInvalid(said, field="tls_certificate") from None
