"""Sources of observations: each runs by itself, and sends what it sees on one channel."""
