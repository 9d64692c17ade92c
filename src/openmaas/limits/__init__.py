"""How much at once: seats and rates."""
