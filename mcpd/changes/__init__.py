"""Changing what runs: decided as a plan, carried out as an operation that completes or reverts."""
