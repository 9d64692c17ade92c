"""The OpenAI wire: chat completions, completions, embeddings."""
