"""One readable file for each architecture of the line, and the table of their names."""
