"""All tests: `unit` and `daemon` without podman, `podman` with it, `bench` for figures."""
