-- Version 11: shares, speeds and regions of deployments, names for one project, models that stand in, priority.
ALTER TABLE models ADD COLUMN fallbacks JSON DEFAULT '[]' NOT NULL;
ALTER TABLE deployments ADD COLUMN weight FLOAT DEFAULT '1' NOT NULL;
ALTER TABLE deployments ADD COLUMN share_percent INTEGER DEFAULT '100' NOT NULL;
ALTER TABLE deployments ADD COLUMN region VARCHAR DEFAULT '' NOT NULL;
ALTER TABLE deployments ADD CONSTRAINT deployment_weight CHECK (weight > 0);
ALTER TABLE deployments ADD CONSTRAINT deployment_share CHECK (share_percent BETWEEN 0 AND 100);
ALTER TABLE aliases ADD COLUMN project_id VARCHAR DEFAULT '' NOT NULL;
ALTER TABLE aliases DROP CONSTRAINT aliases_pkey;
ALTER TABLE aliases ADD PRIMARY KEY (pattern, project_id);
ALTER TABLE limits DROP CONSTRAINT limit_kind;
ALTER TABLE limits ADD CONSTRAINT limit_kind CHECK (kind IN ('concurrency', 'rpm', 'tpm', 'weight', 'priority'));
