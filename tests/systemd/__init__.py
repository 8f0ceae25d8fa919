"""A node under a real systemd, booted in a container; see `contrib/systemd-tree`."""
