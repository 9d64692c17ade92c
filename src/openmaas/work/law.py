"""The table of jobs: what was asked, how far it is, who has it and until when.

``turn`` counts the claims of a job; whoever writes names the turn they have, so that one who lost
the job writes nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

#: ``open`` until it ends in one of the others.
STATES = ("open", "done", "failed", "expired", "cancelled")

jobs = sa.Table(
    "jobs",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("project_id", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),  # who asked, and pays
    sa.Column("place", sa.String, nullable=False),  # the depot that it needs; empty: none
    sa.Column("wanted", sa.Text, nullable=False),  # JSON of its kind: what was asked
    sa.Column("progress", sa.Text, nullable=False),  # JSON of its kind: how far it is, and what came of it
    sa.Column("state", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),  # not before
    sa.Column("expires_ms", sa.BigInteger, nullable=False),  # what is not done then is not done
    sa.Column("cancel_ms", sa.BigInteger),  # when somebody asked to stop
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("worker", sa.String, nullable=False),  # <home>/<life> of who has it, or had it last
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # claims since it last went on
    sa.Column("lease_until_ms", sa.BigInteger, nullable=False),  # somebody's until then; 0: nobody's
    sa.CheckConstraint(f"state IN ({', '.join(map(repr, STATES))})", name="job_state"),
    sa.CheckConstraint("(state = 'open') = (ended_ms IS NULL)", name="job_ended"),
    sa.Index("jobs_by_due", "state", "due_ms"),
    sa.Index("jobs_by_project", "project_id", "kind", "id"),
)
