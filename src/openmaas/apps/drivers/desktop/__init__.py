"""A desktop as a device: whatever an X server shows."""
