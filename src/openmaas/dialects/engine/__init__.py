"""The wire that every engine speaks, from our side: a conversation said to it, its answer heard as pieces."""
