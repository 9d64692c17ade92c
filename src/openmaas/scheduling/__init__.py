"""Who is served next, and by which replica: pure rules, run by the relay and by the simulator alike."""
