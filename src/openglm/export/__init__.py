"""From a model trained or tuned here to what others run. transformers reads what ``checkpoint`` writes as it is."""
