"""Tests of the daemon as a process of its own: over TLS, by its command line and its log. Needs no podman."""
