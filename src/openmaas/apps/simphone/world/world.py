"""A world: what a seed, a language and a moment make, and the pages that show it.

The same three make the same world again, to the last price. A world belongs to one device for one task; two of them
share nothing. It takes no part in what is done on it: the judge looks at ``state`` and at ``before``.
"""

from __future__ import annotations

from datetime import datetime
from random import Random

import msgspec
from starlette.types import ASGIApp

from openmaas.apps.simphone.world.apps.table import Diary
from openmaas.apps.simphone.world.pages.site import site
from openmaas.apps.simphone.world.seeding.cast import cast
from openmaas.apps.simphone.world.seeding.markets import seed_delivery, seed_shop, seed_tickets
from openmaas.apps.simphone.world.seeding.stories import seed_stories
from openmaas.apps.simphone.world.state import Snapshot, State
from openmaas.apps.simphone.world.wording import words


class World(msgspec.Struct, frozen=True):
    """A state, how it was at the beginning, and an ASGI application that shows it."""

    seed: int
    language: str
    state: State
    before: Snapshot
    app: ASGIApp


def world(seed: int, language: str, now: datetime) -> World:
    """A new world; ``now``, with its zone, is when its clock starts. Raises ``FieldInvalid`` for another language."""
    chosen = words(language)
    rng = Random(f"world {seed}")  # noqa: S311 - a seed must give the same world again
    plot = cast(rng, chosen, now)
    state = State(plot, Diary(now))
    seed_delivery(rng, chosen, state, plot, now)
    seed_shop(rng, chosen, state, plot, now)
    seed_tickets(rng, chosen, state, plot, now)
    seed_stories(rng, chosen, state, plot, now)
    state.popups |= {app for app in ("delivery", "tickets", "shop") if rng.random() < 0.5}
    return World(seed, language, state, state.tables(), site(state, chosen))
