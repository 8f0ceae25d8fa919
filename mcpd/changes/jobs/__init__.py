"""Jobs: components that mcpd runs when their schedules say so."""
