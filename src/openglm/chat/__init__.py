"""How GLM writes a conversation down: its templates, and which of the tokens a model is to learn."""
