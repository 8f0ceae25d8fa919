"""How an image is built: what from, with which command lines, and what git says of it."""
