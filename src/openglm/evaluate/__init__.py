"""How good a model is, and what of it is lost when its numbers are made smaller; results lie beside the checkpoint."""
