"""What the commands do, a module a family. Nothing here knows how a command line is parsed."""
