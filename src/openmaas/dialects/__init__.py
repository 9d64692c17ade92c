"""The wire formats of the world and how bytes become a request."""
