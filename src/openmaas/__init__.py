"""openmaas: Model as a Service. Start at relay/journey.py; docs/tour.md shows the way there."""
