"""Who we are to the nodes: token and password files, the token of one command, MCIAS; and whose certificates we trust."""
