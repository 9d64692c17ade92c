-- Version 8: models that somebody else's trainer tunes.
ALTER TABLE models ADD COLUMN trainer VARCHAR DEFAULT 'openglm' NOT NULL;
ALTER TABLE models ADD COLUMN trainer_arguments JSON DEFAULT '{}' NOT NULL;
ALTER TABLE models ADD COLUMN trainer_processes INTEGER DEFAULT '1' NOT NULL;
