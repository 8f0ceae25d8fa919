"""The command line: reads definitions, sends intent to agents, shows what they answer."""

__version__ = "0.2.0"
