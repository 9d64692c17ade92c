"""Which applications a phone has, and by which names a person may ask for them.

adb tells labels only where they are not translated (``nonLocalizedLabel``): what nearly everybody has is named by
``names.toml`` beside this file, and the rest by its package.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

#: Asks for everything that has an icon on the home screen.
QUERY = "cmd package query-activities -a android.intent.action.MAIN -c android.intent.category.LAUNCHER"
_FACT = re.compile(r"\b(name|packageName|nonLocalizedLabel)=(.*?)(?= icon=|\s*$)", re.MULTILINE)


class App(msgspec.Struct, frozen=True):
    """Something that can be launched. ``label`` is empty when the phone does not tell it."""

    package: str
    activity: str
    label: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called: by itself, else by most people, else by its package."""
        known = known_names().get(self.package, ())
        return (self.label,) if self.label else tuple(known) or (self.package,)


def read(answer: str) -> tuple[App, ...]:
    """The applications in the phone's answer to ``QUERY``."""
    apps = []
    for part in re.split(r"^\s*Activity #\d+:$", answer, flags=re.MULTILINE)[1:]:
        facts: dict[str, str] = {}
        for name, value in _FACT.findall(part):
            facts.setdefault(name, value)  # the application around the activity has the same facts once more
        if "name" in facts and "packageName" in facts:
            label = facts.get("nonLocalizedLabel", "null")
            apps.append(App(facts["packageName"], facts["name"], "" if label == "null" else label))
    return tuple(apps)


def find(apps: Sequence[App], wanted: str) -> App | None:
    """The application of this name, whatever its case and spaces."""
    name = _folded(wanted)
    for app in apps:
        if name in map(_folded, (*app.names, *known_names().get(app.package, ()), app.package)):
            return app
    return None


@functools.cache
def known_names() -> dict[str, list[str]]:
    """Names of well-known packages, the Chinese one first where there is one."""
    return tomllib.loads(Path(__file__).with_name("names.toml").read_text())


def _folded(name: str) -> str:
    return "".join(name.casefold().split())
