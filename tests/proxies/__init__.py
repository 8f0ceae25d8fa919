"""Tests that drive real proxies."""
