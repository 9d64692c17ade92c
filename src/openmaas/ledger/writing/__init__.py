"""What a relay writes down: opened and closed lines on disk, and the same request asked twice."""
