"""Secrets of endpoints: opened to sign, sealed again when the master key rotates."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from openmaas.webhooks.book import Endpoint
from openmaas.webhooks.law import endpoints

#: Opens what was sealed for an owner under a version of the master key.
Unseal = Callable[[bytes, str, int], bytes]


def secrets_of(endpoint: Endpoint, unseal: Unseal, now_ms: int) -> list[bytes]:
    """What signs now, the newest first."""
    found = [unseal(endpoint.secret_sealed, endpoint.id, endpoint.master_version)]
    if endpoint.old_secret_sealed is not None and (endpoint.old_until_ms or 0) > now_ms:
        found.append(unseal(endpoint.old_secret_sealed, endpoint.id, endpoint.master_version))
    return found


def rewrap_secrets(tx: sa.Connection, unseal: Unseal, seal: Callable[[bytes, str], tuple[int, bytes]]) -> int:
    """Seal every secret again; returns how many endpoints there are."""
    rows = tx.execute(sa.select(endpoints)).mappings().all()
    for row in rows:
        version, secret = seal(unseal(row["secret_sealed"], row["id"], row["master_version"]), row["id"])
        old = row["old_secret_sealed"]
        if old is not None:
            _, old = seal(unseal(old, row["id"], row["master_version"]), row["id"])
        values = {"secret_sealed": secret, "old_secret_sealed": old, "master_version": version}
        tx.execute(endpoints.update().where(endpoints.c.id == row["id"]).values(values))
    return len(rows)


def secret_versions(tx: sa.Connection) -> set[int]:
    """The versions of the master key that open some secret."""
    return set(tx.execute(sa.select(endpoints.c.master_version).distinct()).scalars())
