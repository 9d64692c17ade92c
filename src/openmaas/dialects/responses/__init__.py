"""The Responses wire of OpenAI: items in, items and events out."""
