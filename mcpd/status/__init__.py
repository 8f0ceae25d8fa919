"""How things are: what the registry wants, joined with what podman has. Pure functions."""
