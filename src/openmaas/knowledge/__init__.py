"""Knowledge bases: documents of a project, cut into chunks, embedded, and found again."""
