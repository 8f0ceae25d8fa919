"""How the daemon's parts are built and joined. `mcpd.daemon` starts them, and shows which outlives which."""
