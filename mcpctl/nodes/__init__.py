"""How nodes are spoken to: one connection, many at once, streams that are followed, and files that are moved."""
