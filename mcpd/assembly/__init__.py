"""Builds the daemon's parts and joins them. `mcpd.daemon` starts them, and shows which outlives which."""
