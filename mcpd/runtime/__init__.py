"""podman: the link to it, its REST API, and what a declared component becomes there."""
