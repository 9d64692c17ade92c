"""What the management API works on, handed in by the house."""

from __future__ import annotations

from pathlib import Path

import msgspec

from openmaas.core.clock import Clock
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.store.database import Database


class Rooms(msgspec.Struct, frozen=True):
    """The rooms behind the API."""

    database: Database
    keys: Keys
    master: MasterKeys
    clock: Clock
    journals: Path
    currency: str
