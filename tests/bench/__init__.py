"""Measurements: ratios between two ways of doing the same thing, taken side by side."""
