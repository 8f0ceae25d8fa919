"""Who we are to the nodes: tokens, passwords, MCIAS; and whose certificates we trust."""
