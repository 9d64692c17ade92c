"""What computes: processes that speak the OpenAI wire, and the weights they load."""
