"""A fleet that is not here: recorded requests, modelled engines, and between them the rules that the relay runs."""
