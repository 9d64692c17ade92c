"""The languages in which models name an action: one file each, all read into one schema (``agent/actions.py``)."""
