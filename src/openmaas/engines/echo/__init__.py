"""The shipped fake: an engine that computes nothing, and breaks on cue."""
