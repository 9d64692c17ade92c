"""Tools on any engine: calls read out of a model's text, a demanded call made a JSON schema. Text and values only."""
