"""The few parts that architectures share: norms, rotations, attention, feed-forward layers, the router of experts."""
