"""Programs that a desktop can be told to open: those that were named, and those of its .desktop files.

Source: the Desktop Entry Specification 1.5, https://specifications.freedesktop.org/desktop-entry-spec/.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from openmaas.core.errors import CannotAct

_FIELD = re.compile(r"%[a-zA-Z]")


def entries(folders: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The command of each application of these folders that has a window and wants to be shown, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.desktop"))):
        read = configparser.RawConfigParser(strict=False, interpolation=None)
        try:
            read.read_string(path.read_text())
            entry = read["Desktop Entry"]
            command = tuple(part for part in shlex.split(entry["Exec"]) if not _FIELD.fullmatch(part))
        except (configparser.Error, KeyError, ValueError, OSError):
            continue  # somebody's mistake that every desktop passes over
        kept = [entry.get(word, "false").lower() for word in ("NoDisplay", "Hidden", "Terminal")]
        if entry.get("Type") == "Application" and command and "true" not in kept:
            found.setdefault(entry.get("Name", path.stem), command)
    return found


def start(command: tuple[str, ...], display: str) -> None:
    """Start it on this display. It is nobody's child: it stays when we go, as if a person had started it."""
    if shutil.which(command[0]) is None:
        raise CannotAct(f"{command[0]} is not on this machine")
    subprocess.run(
        ["setsid", "--fork", *command],
        env={**os.environ, "DISPLAY": display},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
