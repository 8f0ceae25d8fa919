"""What the commands do, a module a family: ask nodes, decide, print. Nothing here knows how a command line is parsed."""
