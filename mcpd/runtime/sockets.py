"""The sockets of this machine and their owners, as far as mcpd may see them: proc_pid_net(5), proc_pid_fd(5)."""

from __future__ import annotations

import errno
import ipaddress
import pwd
import socket
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

_PROC = Path("/proc")
_TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
# In these states (the kernel's net/tcp_states.h, in hexadecimal) a socket keeps others from its port: TCP that listens,
# UDP that is bound and has no peer. Whoever is connected leaves the port to a listener.
_HOLDING = {"tcp": "0A", "udp": "07"}
# In these a connection has something left to send or to hear: established, and four in which one side has closed.
_CONNECTED = frozenset({"01", "04", "08", "09", "0B"})
# Columns of the table, counted from 0.
_LOCAL, _STATE, _UID, _INODE = 1, 3, 7, 9
# Both families' every address: what an IPv6 wildcard socket has, unless it was asked to be IPv6 only (ipv6(7)).
EVERY_ADDRESS = ""
_EVERY_V6 = "::"


class Socket(NamedTuple):
    """A socket bound to a port. ``ip`` is `EVERY_ADDRESS` when it is bound in both families."""

    ip: str
    port: int
    protocol: str
    uid: int = 0
    inode: int = 0


class Owner(NamedTuple):
    """The owner of a socket. ``pid`` is 0 and ``program`` empty when mcpd may not see them."""

    user: str
    program: str = ""
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid})" if self.pid else f"a process of user {self.user}"


async def held(ports: Collection[tuple[int, str]]) -> tuple[Socket, ...]:
    """The sockets bound to one of ``ports``: numbers, each with its protocol. Takes a millisecond."""
    return await trio.to_thread.run_sync(_held, frozenset(ports))


async def served(pid: int, ports: Collection[int]) -> int | None:
    """How many clients are connected to ``ports``, as process ``pid`` sees the network; None when it has ended.

    One, when nobody may look: then nobody knows.
    """
    return await trio.to_thread.run_sync(_served, pid, frozenset(ports))


async def owner(of: Socket) -> Owner:
    """Searches every visible process, which is slow: only for error messages."""
    return await trio.to_thread.run_sync(_owner, of)


def _held(ports: frozenset[tuple[int, str]]) -> tuple[Socket, ...]:
    found: list[Socket] = []
    for table, protocol in _TABLES:
        try:
            # Ours, and not the thread's: the network namespace is the process's.
            text = (_PROC / "self/net" / table).read_text()
        except OSError:
            continue  # a kernel without that family
        found += [each for each in parsed(text, protocol) if (each.port, protocol) in ports]
    return tuple(each._replace(ip=EVERY_ADDRESS) if _is_in_both_families(each) else each for each in found)


def _served(pid: int, ports: frozenset[int]) -> int | None:
    found, is_there = 0, False
    for table in ("tcp", "tcp6"):
        try:
            text = (_PROC / str(pid) / "net" / table).read_text()
        except PermissionError:
            return 1
        except OSError:
            continue  # gone, or a kernel without that family
        is_there = True
        found += sum(1 for each in connected(text) if each in ports)
    return found if is_there else None


def connected(table: str) -> Iterator[int]:
    """The local port of every connection in a table of the kernel's that is not over."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > _STATE and columns[_STATE] in _CONNECTED:
            yield int(columns[_LOCAL].rpartition(":")[2], 16)


def parsed(table: str, protocol: str, *, byteorder: str = sys.byteorder) -> Iterator[Socket]:
    """The sockets in a table of the kernel that block their ports for others."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > _INODE and columns[_STATE] == _HOLDING[protocol]:
            address, _, port = columns[_LOCAL].rpartition(":")
            yield Socket(_ip(address, byteorder), int(port, 16), protocol, int(columns[_UID]), int(columns[_INODE]))


def _ip(text: str, byteorder: str) -> str:
    """The kernel prints an address as words of 32 bits, each in the machine's byte order."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_in_both_families(found: Socket) -> bool:
    """Whether a socket at IPv6's every address has the port in IPv4 as well.

    The kernel's table does not say; trying does. Nothing listens at the socket that tries, and it is closed at once.
    """
    if found.ip != _EVERY_V6:
        return False
    kind = socket.SOCK_STREAM if found.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as trying:
        if found.protocol == "tcp":
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("0.0.0.0", found.port))  # noqa: S104
        except OSError as error:
            # A port below 1024 may not be ours to try (ip(7)), which says nothing.
            return error.errno == errno.EADDRINUSE
    return False


def _owner(of: Socket) -> Owner:
    link = f"socket:[{of.inode}]"
    for process in _processes():
        try:
            if any(_points_to(each, link) for each in (process / "fd").iterdir()):
                return Owner(_user(of.uid), (process / "comm").read_text().strip(), int(process.name))
        except OSError:
            continue  # not ours to see, or gone
    return Owner(_user(of.uid))


def _processes() -> Sequence[Path]:
    return [each for each in _PROC.iterdir() if each.name.isdigit()]


def _points_to(entry: Path, link: str) -> bool:
    try:
        return str(entry.readlink()) == link
    except OSError:
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
