"""Telling the operator: what deserves an alert, the ledger of alerts, and the command that is run for each."""
