"""Tables of what is offered: models, their other names, the deployments that run them, and agents."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

models = sa.Table(
    "models",
    LAW,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("context_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens_default", sa.Integer, nullable=False),  # when the caller names no maximum
    sa.Column("description", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String, nullable=False, server_default=""),  # the organisation it is for; empty: everybody
    sa.Column("checkpoint", sa.String, nullable=False, server_default=""),  # the folder to tune from; empty: none
    sa.Column("trainer", sa.String, nullable=False, server_default="openglm"),  # who runs its tuning jobs
    sa.Column("trainer_arguments", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("trainer_processes", sa.Integer, nullable=False, server_default="1"),
    sa.Column("fallbacks", sa.JSON, nullable=False, server_default="[]"),  # models that stand in for it, in this order
    sa.CheckConstraint("task IN ('generate', 'embed', 'search', 'moderate')"),
    sa.CheckConstraint("context_tokens > 0 AND output_tokens_default >= 0"),
)
deployments = sa.Table(
    "deployments",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", sa.ForeignKey(models.c.name), nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("served_name", sa.String, nullable=False),  # what the engine itself calls the model
    sa.Column("weights", sa.String, nullable=False),  # a pulled name or a path; empty when the engine is elsewhere
    sa.Column("url", sa.String, nullable=False),  # of an engine that runs elsewhere, else empty
    sa.Column("credential_sealed", sa.LargeBinary),  # its API key, AES-256-GCM
    sa.Column("master_version", sa.Integer),
    sa.Column("slots", sa.Integer, nullable=False),  # how many requests it works on at once
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("wanted", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("weight", sa.Float, nullable=False, server_default="1"),  # its speed beside the model's others
    sa.Column("share_percent", sa.Integer, nullable=False, server_default="100"),  # the most of all requests it gets
    sa.Column("region", sa.String, nullable=False, server_default=""),  # where it is, in the operator's words
    sa.CheckConstraint(
        "kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'glm', 'openvino', 'openai_http')"
    ),
    sa.CheckConstraint("wanted IN ('running', 'stopped')"),
    sa.CheckConstraint("(kind = 'openai_http') = (url <> '')"),
    sa.CheckConstraint("slots > 0"),
    sa.CheckConstraint("weight > 0", name="deployment_weight"),
    sa.CheckConstraint("share_percent BETWEEN 0 AND 100", name="deployment_share"),
)
aliases = sa.Table(
    "aliases",
    LAW,
    sa.Column("pattern", sa.String, primary_key=True),  # in lower case; ``*`` at its end stands for any end
    sa.Column("project_id", sa.String, primary_key=True, server_default=""),  # of whom alone; empty: everybody
    sa.Column("model", sa.ForeignKey(models.c.name), nullable=False, index=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("pattern = lower(pattern) AND pattern <> ''"),
)
agents = sa.Table(
    "agents",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", sa.ForeignKey(models.c.name), nullable=False, index=True),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("prompt", sa.String, nullable=False),  # with places for variables
    sa.Column("variables", sa.JSON, nullable=False),
    sa.Column("chat", sa.JSON, nullable=False),  # members of the chat that are fixed
    sa.Column("later", sa.Boolean, nullable=False),  # the answer is fetched
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)
