"""The Anthropic wire: messages, their tokens, models."""
