"""Random histories of a node, played against the real monitor on a mock clock."""
