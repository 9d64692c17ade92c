"""Customers' files: rows in the database, bytes in a folder."""
