"""Mutation testing: mutmut changes a module in one place at a time, and the module's tests must notice every time."""
