"""What mcpd remembers: desired and observed state, specs, events, operations, alerts, calls. SQLite."""
