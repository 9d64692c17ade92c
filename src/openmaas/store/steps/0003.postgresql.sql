-- Version 3: models that search and that moderate, and usage by day of what is no token.
ALTER TABLE models DROP CONSTRAINT models_task_check;
ALTER TABLE models ADD CHECK (task IN ('generate', 'embed', 'search', 'moderate'));
ALTER TABLE deployments DROP CONSTRAINT deployments_kind_check;
ALTER TABLE deployments ADD CHECK (kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'openai_http'));
ALTER TABLE usage_days
    ADD COLUMN units_call BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN units_character BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN units_image BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN units_second BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN units_storage BIGINT DEFAULT '0' NOT NULL;
-- Knowledge bases, their documents and chunks.
CREATE TABLE knowledge_bases (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    embedding_id INTEGER NOT NULL,
    embedding_model VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    background VARCHAR NOT NULL,
    icon VARCHAR NOT NULL,
    customer_identifier VARCHAR NOT NULL,
    bucket_id VARCHAR NOT NULL,
    vector_length INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE INDEX knowledge_bases_by_project ON knowledge_bases (project_id, id);
CREATE TABLE knowledge_documents (
    id VARCHAR NOT NULL,
    knowledge_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    knowledge_type INTEGER NOT NULL,
    separators JSON NOT NULL,
    sentence_size INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    words INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    embedded INTEGER NOT NULL,
    fail_code INTEGER NOT NULL,
    fail_message VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT document_state CHECK (state IN ('waiting', 'ready', 'failed')),
    CONSTRAINT document_embedded CHECK (embedded BETWEEN 0 AND chunks),
    FOREIGN KEY(id) REFERENCES files (id),
    FOREIGN KEY(knowledge_id) REFERENCES knowledge_bases (id)
);
CREATE INDEX ix_knowledge_documents_job_id ON knowledge_documents (job_id);
CREATE INDEX ix_knowledge_documents_project_id ON knowledge_documents (project_id);
CREATE INDEX knowledge_documents_by_base ON knowledge_documents (knowledge_id, id);
CREATE TABLE knowledge_chunks (
    document_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    vector BYTEA,
    PRIMARY KEY (document_id, number),
    FOREIGN KEY(document_id) REFERENCES knowledge_documents (id)
);
