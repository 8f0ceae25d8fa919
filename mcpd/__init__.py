"""The daemon: keeps the containers of one node running as declared."""

import contextlib

# Before anything can import grpclib: on Python 3.12 and later every RPC fails with "no running event loop" otherwise,
# since trio-asyncio must have put its event loop policy in place when asyncio's users are loaded.
with contextlib.suppress(ModuleNotFoundError):  # `mcpd.__main__` says what to install
    import trio_asyncio  # noqa: F401

__version__ = "0.2.0"
