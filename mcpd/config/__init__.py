"""`mcpd.toml`: its tables (settings), and a rule for each notation in it (rules)."""
