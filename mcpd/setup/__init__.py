"""`mcpd init`: what a new node needs before its daemon can start."""
