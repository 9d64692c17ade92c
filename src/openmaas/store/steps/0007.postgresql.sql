-- Version 7: models that are one organisation's, models that can be tuned, and tokens of training.
ALTER TABLE models ADD COLUMN owner VARCHAR DEFAULT '' NOT NULL;
ALTER TABLE models ADD COLUMN checkpoint VARCHAR DEFAULT '' NOT NULL;
ALTER TABLE usage_days ADD COLUMN units_training BIGINT DEFAULT '0' NOT NULL;
