"""A model of the whole: random histories of a real daemon, each step followed by the same invariants."""
