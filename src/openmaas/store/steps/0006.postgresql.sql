-- Version 6: our own engine of classic GLMs.
ALTER TABLE deployments DROP CONSTRAINT deployments_kind_check;
ALTER TABLE deployments ADD CHECK (kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'glm', 'openai_http'));
