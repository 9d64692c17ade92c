"""The pages of each application: they show its state and call its functions."""
