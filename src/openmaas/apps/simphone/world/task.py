"""A task: what a person asks for, in both languages, what must have become of the world, and one way through its pages.

All of them stand in ``tasks/*.toml`` and name what is in them by the words of the world's plot, so that they hold for
every seed. A walk is how the pages are used by hand, one step a line: ``tap TEXT`` on a button, a link or a choice that
says so (``second TEXT`` where two of them do), ``type LABEL = TEXT`` over what stands in the field, ``back``, ``home``,
and ``person LABEL = TEXT`` where only the phone's owner may type. A pop-up in the way is closed without a step. It is a
proof and an example, and no model sees it.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from openmaas.apps.simphone.world.wording import words
from openmaas.apps.simphone.world.world import World


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record that was added, changed or removed, of the table that is named; what it was before, what it is now."""

    added: str = ""
    changed: str = ""
    removed: str = ""
    was: dict[str, Any] = {}
    now: dict[str, Any] = {}

    @property
    def table(self) -> str:
        """The table that it is about."""
        return self.added or self.changed or self.removed


class Step(msgspec.Struct, frozen=True):
    """A step of a walk: ``verb``, what it is done to, and what is typed."""

    verb: str
    target: str = ""
    text: str = ""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, and what must then have happened: this and nothing else."""

    id: str
    apps: tuple[str, ...]
    zh: str
    en: str
    expect: tuple[Expectation, ...]
    walk: str
    spoken: bool = False

    def instruction(self, world: World) -> str:
        """What the person says, in the world's language."""
        return {"zh": self.zh, "en": self.en}[world.language].format_map(world.state.plot)

    def steps(self, world: World) -> tuple[Step, ...]:
        """The walk through this world's pages. A button's text that has an amount in it is told up to there."""
        chosen = words(world.language)
        ui = {name: text.partition("{")[0].strip() for name, text in chosen.ui.items()}
        names = {**world.state.plot, "ui": ui, "app": chosen.apps}
        steps = []
        for line in self.walk.strip().splitlines():
            verb, _, rest = line.partition(" ")
            target, _, text = rest.partition(" = ")
            steps.append(Step(verb, target.format_map(names), text.format_map(names)))
        return tuple(steps)


@cache
def tasks() -> tuple[Task, ...]:
    """All of them, by file and in the order in which they stand there."""
    files = sorted((Path(__file__).parent / "tasks").glob("*.toml"))
    told = [each for file in files for each in tomllib.loads(file.read_text(encoding="utf-8"))["task"]]
    return msgspec.convert(told, tuple[Task, ...])
