"""The state of the fleet, kept up to date, and `--watch`, which shows it."""
