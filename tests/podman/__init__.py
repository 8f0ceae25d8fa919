"""Tests that drive real podman, through real daemons."""
