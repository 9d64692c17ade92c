-- Version 9: weights in the fair queue are set as limits are.
ALTER TABLE limits DROP CONSTRAINT limit_kind;
ALTER TABLE limits ADD CONSTRAINT limit_kind CHECK (kind IN ('concurrency', 'rpm', 'tpm', 'weight'));
