"""The published layout on disk: read whole and checked, written whole or not at all."""
