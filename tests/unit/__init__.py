"""Tests of one module at a time: decisions, parsers, files, the registry."""
