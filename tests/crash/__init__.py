"""A daemon that is killed at every point around an alert."""
