"""What these tests share with the unit tests: agents to ask."""

from tests.unit.conftest import alone, authority, nodes, orion, rift

__all__ = ["alone", "authority", "nodes", "orion", "rift"]
