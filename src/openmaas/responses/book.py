"""The book of kept answers: pure functions of one transaction. A project sees its own and no other's.

A conversation is a chain: each answer names the one that it went on from, and keeps only its own input. So an answer
that is deleted, or whose day has come, is gone from every conversation too, and what went on from it cannot be
continued: the caller is told which link is missing.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import RESPONSE_CHAIN_BYTES_MAX, RESPONSE_CHAIN_MAX, RESPONSES_FORGOTTEN_MAX
from openmaas.core.errors import PreviousUnknown, ThingUnknown, TooLarge
from openmaas.responses.law import response_retention, responses


class Kept(msgspec.Struct, frozen=True):
    """One answer. ``asked`` and ``answer`` are JSON: a list of items, and the response object."""

    id: str
    organisation_id: str
    project_id: str
    previous_id: str | None
    created_ms: int
    expires_ms: int
    asked: bytes
    answer: bytes


def days_ms(days: int) -> int:
    """Days in milliseconds."""
    return days * 24 * 3600 * 1000


def keep(tx: sa.Connection, kept: Kept) -> None:
    """Write an answer down, once: a commit whose word was lost is made again."""
    values = msgspec.structs.asdict(kept)
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    tx.execute(sa.text(f"INSERT INTO responses ({names}) VALUES ({places}) ON CONFLICT DO NOTHING"), values)  # noqa: S608 - names are our own law


def find(tx: sa.Connection, project_id: str, response_id: str, now_ms: int) -> Kept:
    """One answer. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(responses).where(responses.c.id == response_id, *_seen(project_id, now_ms))).first()
    if row is None:
        raise ThingUnknown(f"there is no response {response_id!r}", field="response_id")
    return Kept(*row)


def chain(tx: sa.Connection, project_id: str, last_id: str, now_ms: int) -> list[tuple[bytes, bytes]]:
    """What was asked and answered up to ``last_id``, oldest first. Raises ``PreviousUnknown``, and ``TooLarge`` for a
    conversation that no model could read."""
    columns = responses.c.id, responses.c.previous_id
    links = sa.select(*columns, sa.literal(0).label("depth"), _SIZE.label("size"))
    links_cte = links.where(responses.c.id == last_id, *_seen(project_id, now_ms)).cte("links", recursive=True)
    earlier = sa.select(*columns, links_cte.c.depth + 1, links_cte.c.size + _SIZE)
    found_links = links_cte.union_all(
        earlier.where(
            responses.c.id == links_cte.c.previous_id,
            links_cte.c.depth < RESPONSE_CHAIN_MAX,
            *_seen(project_id, now_ms),
        )
    )
    rows = tx.execute(sa.select(found_links).order_by(sa.desc("depth"))).all()
    missing = last_id if not rows else rows[0].previous_id
    if missing is not None and (not rows or rows[0].depth < RESPONSE_CHAIN_MAX):
        raise PreviousUnknown(f"{missing!r}", field="previous_response_id")
    if missing is not None or rows[0].size > RESPONSE_CHAIN_BYTES_MAX:
        raise TooLarge(f"the conversation before {last_id!r} is too long", field="previous_response_id")
    ids = [row.id for row in rows]
    told = sa.select(responses.c.id, responses.c.asked, responses.c.answer).where(responses.c.id.in_(ids))
    turns = {row.id: (row.asked, row.answer) for row in tx.execute(told)}
    return [turns[each] for each in ids]


def delete(tx: sa.Connection, project_id: str, response_id: str) -> None:
    """Delete one answer with its input: the row is gone. Raises ``ThingUnknown``."""
    gone = sa.delete(responses).where(responses.c.id == response_id, responses.c.project_id == project_id)
    if tx.execute(gone).rowcount == 0:
        raise ThingUnknown(f"there is no response {response_id!r}", field="response_id")


def retention(tx: sa.Connection, project_id: str) -> int | None:
    """The days of a project; None when the setting counts."""
    days = sa.select(response_retention.c.days).where(response_retention.c.project_id == project_id)
    return tx.execute(days).scalar_one_or_none()


def set_retention(tx: sa.Connection, project_id: str, days: int | None) -> None:
    """Say how long a project keeps answers, 0 for not at all and None for the setting. What it has is shortened with
    it, never prolonged. Raises ``ThingUnknown``."""
    projects = sa.table("projects", sa.column("id"))
    if tx.execute(sa.select(projects.c.id).where(projects.c.id == project_id)).first() is None:
        raise ThingUnknown(f"there is no project {project_id!r}", field="project_id")
    tx.execute(sa.delete(response_retention).where(response_retention.c.project_id == project_id))
    if days is None:
        return
    tx.execute(response_retention.insert().values(project_id=project_id, days=days))
    until = responses.c.created_ms + days_ms(days)
    later = responses.c.project_id == project_id, responses.c.expires_ms > until
    tx.execute(sa.update(responses).where(*later).values(expires_ms=until))


def forget(tx: sa.Connection, now_ms: int, *, all_of_them: bool = False) -> int:
    """Delete those whose day has come, or all where nothing is kept any more; returns how many. Some at a time."""
    due = sa.select(responses.c.id).where(sa.true() if all_of_them else responses.c.expires_ms <= now_ms)
    ids = due.limit(RESPONSES_FORGOTTEN_MAX).scalar_subquery()
    return tx.execute(sa.delete(responses).where(responses.c.id.in_(ids))).rowcount


_SIZE = sa.func.length(responses.c.asked) + sa.func.length(responses.c.answer)


def _seen(project_id: str, now_ms: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """What a project can see now: forgetting may lag a minute behind the day."""
    return responses.c.project_id == project_id, responses.c.expires_ms > now_ms
