"""Training: `loop.py` is the walk of a step, read it first; the rest is what it takes along."""
