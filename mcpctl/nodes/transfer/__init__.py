"""The bytes of files, to a node and from it."""
