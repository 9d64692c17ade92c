"""Webhooks: customers are told what happens to them, signed and again until they have heard."""
