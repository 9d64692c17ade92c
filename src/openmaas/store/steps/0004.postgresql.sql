-- Version 4: agents.
CREATE TABLE agents (
    id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    variables JSON NOT NULL,
    chat JSON NOT NULL,
    later BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(model) REFERENCES models (name)
);
CREATE INDEX ix_agents_model ON agents (model);
