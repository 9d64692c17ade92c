"""Rotating the master key: a new version seals every secret again, in identity, catalogue and webhooks.

Three steps, each whole or not there: the new version joins the file; one transaction seals all secrets under it; the
versions that no secret needs leave the file. A crash in between leaves every secret readable and some version more in
the file than needed, which the next rotation drops. Nobody is told to restart: who meets a version it does not know
reads the file again, and relays read the catalogue again because the transaction notes the change.

Hosts that share a database have a file each. So they go step by step, and the file is copied to all between two steps:
what one host seals can be opened by every other at any moment.
"""

from __future__ import annotations

import os
from typing import Literal, get_args

import sqlalchemy as sa

from openmaas.catalog.deployments import credential_versions, rewrap_credentials
from openmaas.core.errors import Conflict
from openmaas.house.layout import Layout
from openmaas.identity.book import rewrap, sealing_versions
from openmaas.identity.seal import MasterKeys
from openmaas.store.audit_log import Actor, audited
from openmaas.store.database import Database
from openmaas.store.files import lock
from openmaas.webhooks.unsealing import rewrap_secrets, secret_versions

#: ``all`` at once is for one host. What seals: the old version after ``prepare``, the new one after ``seal``, when the
#: old one still opens; after ``drop`` it is gone.
Step = Literal["all", "prepare", "seal", "drop"]
STEPS: tuple[Step, ...] = get_args(Step)


def rotate_master(database: Database, layout: Layout, who: Actor, step: Step = "all") -> tuple[int, int]:
    """Returns the new version and how many secrets were sealed under it. Raises ``Conflict`` while another rotation
    runs, and for a step that comes before its turn."""
    held = lock(layout.master_keys.with_suffix(".lock"))
    if held is None:
        raise Conflict("another rotation of the master key is running")
    try:
        master = MasterKeys(layout.master_keys)
        version = _add(master, step)

        def seal_again(tx: sa.Connection) -> int:
            again = rewrap(tx, master) + rewrap_credentials(tx, master.open, master.seal)
            return again + rewrap_secrets(tx, master.open, master.seal)

        book = (lambda _tx: 0) if step == "prepare" else seal_again
        count = database.call(audited(who, "master_key.rotate", str(version), book, {"step": step}))
        if step in ("all", "drop"):  # what others sealed under an old version since ``seal`` was just sealed again
            used = (database.look(each) for each in (sealing_versions, credential_versions, secret_versions))
            master.keep_only({version}.union(*used))
        return version, count
    finally:
        os.close(held)


def _add(master: MasterKeys, step: Step) -> int:
    """The version that this step is about, added or made the one that seals when it is time."""
    if step in ("all", "prepare"):
        return master.add_version(seals=step == "all")
    if step == "drop" and master.newest > master.current:
        raise Conflict("nothing is sealed under the new master key yet; run `--step seal` first", field="step")
    if step == "seal" and not master.rotating:
        raise Conflict("there is no new master key yet; run `--step prepare` first", field="step")
    return master.add_version() if master.newest > master.current else master.current
