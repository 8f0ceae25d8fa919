"""Alerting: what deserves an alert, and the command that is run for each."""
