"""Observes and alerts. Knows the container runtime and the registry only as Protocols; never imports mcpd or mcpctl."""
