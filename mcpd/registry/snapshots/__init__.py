"""Copies of the registry: taken while the daemon writes, checked, kept, and put back (audit E7)."""
