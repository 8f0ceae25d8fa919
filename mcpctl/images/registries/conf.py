"""What containers-registries.conf(5) says of a registry: where it really is, and whether it needs no TLS.

Mirrors are not asked: they may lag behind, and the question is what there is at all.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mcpctl.errors import UsageError
from mcpctl.images.registries.reference import Reference

_SYSTEM = Path("/etc/containers")
# Nobody writes as much by hand.
_MAX_BYTES = 1024 * 1024
# What a file says of a registry that has no TLS.
WITHOUT_TLS = "insecure = true"


class Registry(msgspec.Struct, frozen=True):
    """A ``[[registry]]`` table."""

    prefix: str = ""
    location: str = ""
    may_lack_tls: bool = msgspec.field(name="insecure", default=False)
    blocked: bool = False


class _File(msgspec.Struct, frozen=True):
    registry: tuple[Registry, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """Where an image is asked for.

    ``may_lack_tls``: plain HTTP will do. podman would take any certificate then, too; mcpctl does not.
    """

    reference: Reference
    may_lack_tls: bool = False
    blocked: bool = False


class Configured(msgspec.Struct, frozen=True):
    """The tables of all files, by prefix."""

    tables: dict[str, Registry] = {}

    def place(self, wanted: Reference) -> Place:
        """The table with the longest prefix of ``wanted`` counts, as with podman."""
        found = [prefix for prefix in self.tables if _covers(prefix, wanted)]
        if not found:
            return Place(wanted)
        prefix = max(found, key=len)
        table = self.tables[prefix]
        return Place(_moved(wanted, prefix, table.location), table.may_lack_tls, table.blocked)


def read(files: Iterable[Path] | None = None) -> Configured:
    """Of this user, else of the system. Raises UsageError, which names the file that is wrong."""
    tables: dict[str, Registry] = {}
    for path in _files() if files is None else files:
        for each in _read(path).registry:
            prefix = each.prefix or each.location
            if prefix:
                tables[prefix.rstrip("/")] = each
    return Configured(tables)


def _files() -> list[Path]:
    """Later ones count more."""
    own = Path("~/.config/containers").expanduser()
    given = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    if given:
        main = Path(given)
    else:
        main = next((path for path in (own / "registries.conf",) if path.exists()), _SYSTEM / "registries.conf")
    more = [path for folder in (_SYSTEM, own) for path in sorted((folder / "registries.conf.d").glob("*.conf"))]
    return [main, *more]


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UsageError(f"{path} is not a registries.conf: it is larger than {_MAX_BYTES} bytes")
        return msgspec.convert(tomllib.loads(content.decode()), _File)
    except FileNotFoundError:
        return _File()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a registries.conf (containers-registries.conf(5)): {error}") from None


def _covers(prefix: str, wanted: Reference) -> bool:
    if prefix.startswith("*."):
        return wanted.registry.endswith(prefix[1:])
    text = str(wanted)
    # After a host, a colon begins its port, which is another registry.
    ends = "/:@" if "/" in prefix else "/"
    return text == prefix or (text.startswith(prefix) and text[len(prefix)] in ends)


def _moved(wanted: Reference, prefix: str, location: str) -> Reference:
    """``wanted``, below ``location`` in place of ``prefix``."""
    if not location or location == prefix or prefix.startswith("*."):
        return wanted
    registry, _, repository = (location.rstrip("/") + wanted.name.removeprefix(prefix)).partition("/")
    if not repository:
        return wanted
    return msgspec.structs.replace(wanted, registry=registry, repository=repository)
