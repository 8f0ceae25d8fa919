"""Programs that an operator runs: in a component's container (exec), or in one of their own (run)."""
