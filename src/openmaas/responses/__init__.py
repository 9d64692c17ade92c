"""Answers that a caller asked to keep, and for how long a project keeps them."""
