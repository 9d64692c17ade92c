"""Pure values and laws: money, usage, errors, clock, bounds. No I/O."""
