"""The printed rows of images that were built here."""

from __future__ import annotations

import msgspec


class BuildRow(msgspec.Struct, frozen=True):
    """An image that ``build`` has made. ``components``: SERVICE/COMPONENT of those that use it; ``id``: hexadecimal.

    ``commit`` and ``dirty``: of the git work tree that it was built from; empty and false where there is none.
    ``registry``: ``pushed``, ``unchanged`` (it has the image already), or empty: nothing was pushed.
    """

    image: str
    id: str
    components: tuple[str, ...]
    engine: str
    seconds: float
    commit: str
    dirty: bool
    registry: str
