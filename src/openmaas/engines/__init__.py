"""Engines: child processes that generate tokens and serve the OpenAI wire on a Unix socket; and the weights they load."""
