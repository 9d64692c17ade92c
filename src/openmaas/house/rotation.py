"""Rotating the master key: a new version seals every secret again, in identity, catalogue and webhooks.

Three steps, each whole or not there: the new version joins the file; one transaction seals all secrets under it; the
versions that no secret needs leave the file. A crash in between leaves every secret readable and some version more in
the file than needed, which the next rotation drops. Nobody is told to restart: who meets a version it does not know
reads the file again, and relays read the catalogue again because the transaction notes the change.
"""

from __future__ import annotations

import os

import sqlalchemy as sa

from openmaas.catalog.book import credential_versions, rewrap_credentials
from openmaas.core.errors import Conflict
from openmaas.house.layout import Layout
from openmaas.identity.book import rewrap, sealing_versions
from openmaas.identity.seal import MasterKeys
from openmaas.store.audit_log import Actor, audited
from openmaas.store.database import Database
from openmaas.store.files import lock
from openmaas.webhooks.unsealing import rewrap_secrets, secret_versions


def rotate_master(database: Database, layout: Layout, who: Actor) -> tuple[int, int]:
    """Returns the new version and how many secrets it seals. Raises ``Conflict`` while another rotation runs."""
    held = lock(layout.master_keys.with_suffix(".lock"))
    if held is None:
        raise Conflict("another rotation of the master key is running")
    try:
        master = MasterKeys(layout.master_keys)
        version = master.add_version()

        def seal_again(tx: sa.Connection) -> int:
            again = rewrap(tx, master) + rewrap_credentials(tx, master.open, master.seal)
            return again + rewrap_secrets(tx, master.open, master.seal)

        count = database.call(audited(who, "master_key.rotate", str(version), seal_again))
        used = (database.look(each) for each in (sealing_versions, credential_versions, secret_versions))
        master.keep_only({version}.union(*used))
        return version, count
    finally:
        os.close(held)
