"""A node of the Metacircular Control Plane below one folder, with a podman of its own. `contrib/demo` runs it.

Needs the standard library only, so that `down` works with any Python, and imports nothing of ours: it drives the
programs `mcpd`, `mcpctl` and `podman`, as a person would.
"""
