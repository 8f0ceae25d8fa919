"""The one place where answers become rows of our own, which are what is printed, as a table or as JSON."""
