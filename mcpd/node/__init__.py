"""What the daemon does for its node besides answering calls."""
