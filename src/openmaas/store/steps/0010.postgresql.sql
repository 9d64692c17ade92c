-- Version 10: engines of kind openvino.
ALTER TABLE deployments DROP CONSTRAINT deployments_kind_check;
ALTER TABLE deployments ADD CHECK (kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'glm', 'openvino', 'openai_http'));
