"""A web browser as a device: a Chromium of its own, and the gate that all its traffic goes through."""
