"""The data plane: from socket to receipt. Read journey.py first."""
