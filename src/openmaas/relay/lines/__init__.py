"""The replicas of each model and the requests that want one: here, or at the relay that owns the queue."""
