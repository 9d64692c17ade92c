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
