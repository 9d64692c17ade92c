"""``openmaas doctor``: looks at the machine and the installation and says what would not work, and what to do."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import click

from openmaas.cli.say import AS_JSON, DATA, plainly, show
from openmaas.core.bounds import DISK_BYTES_MIN, FILES_MIN
from openmaas.core.errors import OpenmaasError
from openmaas.house.layout import Layout
from openmaas.house.settings import read
from openmaas.store.database import Database


@click.command()
@DATA
@AS_JSON
@plainly
def doctor(data: str, as_json: bool) -> None:
    """Check this machine and the installation. Exit code 1 when something would not work."""
    checks: dict[str, Callable[[str], str]] = {
        "python": _python,
        "settings": _settings,
        "disk": _disk,
        "files": _files,
        "database": _database,
    }
    found = []
    for name, check in checks.items():
        try:
            found.append({"check": name, "ok": True, "said": check(data)})
        except OpenmaasError as error:
            found.append({"check": name, "ok": False, "said": error.message})
        except ValueError as error:
            found.append({"check": name, "ok": False, "said": str(error)})
    text = "\n".join(f"{'ok  ' if row['ok'] else 'BAD '} {row['check']}: {row['said']}" for row in found)
    show(found, as_json=as_json, text=text)
    sys.exit(not all(row["ok"] for row in found))


def _python(_data: str) -> str:
    version = sys.version.split()[0]
    built = sysconfig.get_config_var("CONFIG_ARGS")  # None where the build does not tell
    if built is None or "--enable-optimizations" in built:
        return version
    return f"{version}, built without --enable-optimizations: one built with it answers more requests a second"


def _settings(data: str) -> str:
    found = read({"data": data})
    return f"{sum(source != 'default' for source in found.sources.values())} are not the default"


def _disk(data: str) -> str:
    folder = Path(data).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES_MIN:
        raise ValueError(f"{free / 1e9:.1f} GB free; make room, or requests will be refused when the journal is full")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written")
    return f"{free / 1e9:.0f} GB free"


def _files(_data: str) -> str:
    most = os.sysconf("SC_OPEN_MAX")
    if most < FILES_MIN:
        raise ValueError(f"a process may open {most} files; raise it with `ulimit -n 65536`")
    return f"{most} may be open, two a running request"


def _database(data: str) -> str:
    layout = Layout(data, read({"data": data}).settings.database_url)
    if not layout.database_url and not layout.database_file.exists():
        return "none yet; `openmaas serve` makes one"
    database = Database(layout.database)
    try:
        if layout.database_url:
            return str(database.look(lambda tx: tx.exec_driver_sql("SELECT version()").scalar()))
        answer = database.look(lambda tx: tx.exec_driver_sql("PRAGMA quick_check").scalar())
    finally:
        database.close()
    if answer != "ok":
        raise ValueError(f"the database is damaged: {answer}; restore a backup")
    return f"{layout.database_file.stat().st_size / 1e6:.1f} MB, whole"
