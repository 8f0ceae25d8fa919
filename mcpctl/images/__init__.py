"""Images on this machine: the programs that have them, what they are made of, and archives."""
