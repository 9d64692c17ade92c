"""The GLM line from pretraining to a served model. It imports nothing from openmaas; torch is needed here only."""
