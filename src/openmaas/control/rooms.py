"""What the management API works on, handed in by the house."""

from __future__ import annotations

from pathlib import Path

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.invoice import Issuer
from openmaas.files.face import Files
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.knowledge.face import Library
from openmaas.store.database import Database
from openmaas.work.asking import Relays


class Rooms(msgspec.Struct, frozen=True):
    """The rooms behind the API."""

    database: Database
    keys: Keys
    master: MasterKeys
    clock: Clock
    files: Files
    relays: Relays
    library: Library
    journals: Path
    weights: Path
    tuned: Path
    meters: Path
    issuer: Issuer
    currency: str
    stripe_webhook_secret: str
    webhooks_private: bool
    responses_days: int
    trains: bool  # whether a worker of this house may be given a fine-tuning job
