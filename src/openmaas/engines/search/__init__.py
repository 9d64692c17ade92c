"""Web search as an engine: one wire, and behind it whatever finds something."""
