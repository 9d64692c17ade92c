"""Durable bytes: the database, its schema, atomic files."""
