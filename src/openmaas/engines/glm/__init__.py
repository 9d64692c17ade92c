"""Our own engine for classic GLMs: it fills blanks and continues texts, many requests at a time."""
