"""Whether a task was done, by what the world has become and not by what a screen or a model says.

The state at the end is held against the state at the beginning. Each expectation of the task must be met by a change of
its own, and no change may be left over: what was not asked for is as wrong as what was not done. What went out to
somebody counts even where its trace was deleted afterwards; that the diary knows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

import msgspec

from openmaas.apps.simphone.world.apps.table import Record
from openmaas.apps.simphone.world.state import LIGHT
from openmaas.apps.simphone.world.task import Expectation, Task
from openmaas.apps.simphone.world.wording import Plot, bare
from openmaas.apps.simphone.world.world import World

#: Acts that somebody else has seen, and the table that they leave a record in.
OUTWARD = {("chat", "send"): "chat.messages", ("mail", "send"): "mail.letters"}


class Verdict(msgspec.Struct, frozen=True):
    """``why`` says what is missing or what was too much."""

    passed: bool
    why: str = ""


class Change(msgspec.Struct, frozen=True):
    """A record before and after; without a before it was added, without an after removed."""

    table: str
    before: Record | None
    after: Record | None


def judge(task: Task, world: World) -> Verdict:
    """The task's expectations against the world as it is now."""
    asked = {each.table for each in task.expect}
    left = [each for each in changes(world) if each.table not in LIGHT or each.table in asked]
    for expectation in task.expect:
        met = next((change for change in left if _meets(change, expectation, world.state.plot)), None)
        if met is None:
            return Verdict(False, f"not done: {expectation}; done: {left}")
        left.remove(met)
    return Verdict(not left, f"not asked for: {left}" if left else "")


def changes(world: World) -> Iterator[Change]:
    """Every record that is not as it was, and what was sent and then hidden."""
    now = world.state.tables()
    for table, before in world.before.items():
        for number in sorted({*before, *now[table]}):
            change = Change(table, before.get(number), now[table].get(number))
            if change.before != change.after:
                yield change
    for event in world.state.diary.events:
        table = OUTWARD.get((event.app, event.what), "")
        if table and event.record.id not in now[table]:
            yield Change(table, None, event.record)


def _meets(change: Change, wanted: Expectation, plot: Plot) -> bool:
    if change.table != wanted.table or bool(wanted.added) != (change.before is None):
        return False
    if bool(wanted.removed) != (change.after is None):
        return False
    if change.before and change.after:
        touched = {name for name in change.after.__struct_fields__ if _differ(change.before, change.after, name)}
        if touched != wanted.now.keys():
            return False
    return _fits(change.before, wanted.was, plot) and _fits(change.after, wanted.now, plot)


def _differ(before: Record, after: Record, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _fits(found: object, wanted: object, plot: Plot) -> bool:
    """A text is the same but for case, width, space and the last stop; a table asks for some fields; a list for all."""
    match wanted:
        case {"has": parts}:
            return all(_holds(bare(found), part.format_map(plot)) for part in parts)
        case Mapping():
            return all(_fits(getattr(found, name), value, plot) for name, value in wanted.items())
        case list():
            rest = list(found) if isinstance(found, tuple) else []
            for value in wanted:
                met = next((each for each in rest if _fits(each, value, plot)), None)
                if met is None:
                    return False
                rest.remove(met)
            return not rest
        case _:
            return plain(bare(found)) == plain(str(wanted).format_map(plot))


def plain(text: str, between: str = "") -> str:
    """A text as it is compared; ``between`` stands for any space in it."""
    text = between.join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"(?<=\d),(?=\d)", "", text).rstrip(".。!")


def _holds(text: str, part: str) -> bool:
    """Whether the part is in it, and no number goes on to either side of it: 8.50 is not in 38.50."""
    if not part[:1].isdigit():
        return plain(part) in plain(text)
    return bool(re.search(rf"(?<![\d.]){re.escape(plain(part, ' '))}(?!\d)", plain(text, " ")))
