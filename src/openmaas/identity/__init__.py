"""Who is calling: organisations, projects, keys."""
