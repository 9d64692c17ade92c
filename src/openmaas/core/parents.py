"""What stands behind a request that its customer did not send themselves: a job of theirs, or another request.

A job comes back for the answer: its request runs to the end though whoever asked has died, and costs nothing if the
relay dies instead. Behind another request somebody waits, who may leave, and who pays as for one of their own.
"""

from __future__ import annotations

#: How the ids of requests begin; those of jobs begin with their kind.
REQUEST = "req"


def comes_back(parent_id: str) -> bool:
    """True when ``parent_id`` is a job; it is empty when the customer asked themselves."""
    return parent_id != "" and not parent_id.startswith(f"{REQUEST}_")
