"""The control plane: the management API."""
