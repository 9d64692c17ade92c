"""What computes: processes that serve the OpenAI wire on a Unix socket, and the weights they load."""
