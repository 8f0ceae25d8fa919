"""What observes: each source runs by itself, and puts what it sees on one channel."""
