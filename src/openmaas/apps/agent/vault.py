"""Secrets that a model handles without knowing them: it writes ``{{secret:NAME}}``, and the value is put in only when
it is typed, and only into the application it is bound to. On the way back what the screen says is searched for values.

A picture is not searched: a secret that a page shows in the open can be seen in a screenshot. Fields that hide what is
typed show dots there as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from openmaas.apps.drivers.driver import Element, Screen
from openmaas.core.errors import CannotAct, FieldInvalid

_PLACEHOLDER = re.compile(r"\{\{secret:([A-Za-z0-9_.-]+)\}\}")


class Secret(msgspec.Struct, frozen=True):
    """A value and where it may be typed: a pattern for a package, a window's title or a browser's host."""

    name: str
    value: str
    app: str


def read_secrets(said: Iterable[tuple[str, str]]) -> Vault:
    """Secrets from pairs such as ``("bank_pin@sim.bank", value)``. Raises ``FieldInvalid``."""
    found = []
    for named, value in said:
        name, _, app = named.partition("@")
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or not app or not value:
            raise FieldInvalid(
                f"a secret is named such as pin@sim.bank, not {named!r}, and has a value", field="secret"
            )
        found.append(Secret(name, value, app))
    return Vault(found)


class Vault:
    """The secrets of one task."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._secrets = {each.name: each for each in secrets}

    @property
    def told(self) -> str:
        """What a model is told of them; empty without any."""
        return ", ".join(f"{{{{secret:{each.name}}}}} (in {each.app})" for each in self._secrets.values())

    def filled(self, text: str, screen: Screen) -> str:
        """The text with the values in it. Raises ``CannotAct`` where one is not known or bound elsewhere."""

        def value(found: re.Match[str]) -> str:
            secret = self._secrets.get(found[1])
            if secret is None:
                raise CannotAct(f"there is no secret {found[1]!r}")
            if not fnmatchcase(_place(screen.app), secret.app):
                raise CannotAct(f"the secret {found[1]!r} is bound to {secret.app}, and this is {_place(screen.app)}")
            return secret.value

        return _PLACEHOLDER.sub(value, text)

    def hidden(self, text: str) -> str:
        """The text with every value replaced by its name."""
        for each in self._secrets.values():
            for form in (each.value, quote(each.value, safe=""), quote_plus(each.value)):
                text = text.replace(form, f"{{{{secret:{each.name}}}}}")
        return text

    def hidden_on(self, screen: Screen) -> Screen:
        """The same screen, its texts without the values."""
        if not self._secrets:
            return screen
        return msgspec.structs.replace(
            screen,
            title=self.hidden(screen.title),
            app=self.hidden(screen.app),
            elements=tuple(map(self._hide, screen.elements)),
        )

    def _hide(self, each: Element) -> Element:
        value = "" if each.secret else self.hidden(each.value)
        return msgspec.structs.replace(each, text=self.hidden(each.text), value=value)


def _place(app: str) -> str:
    """Where an application is: the host of an address, else its name."""
    return urlsplit(app).hostname or "" if "://" in app else app
