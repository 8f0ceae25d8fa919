"""How the world reaches components: the table of routes, and the proxy that is made to agree with it."""
