"""The first node, as docs/bootstrap.md says, in machines that have nothing yet. `nox -s bootstrap` runs it."""
