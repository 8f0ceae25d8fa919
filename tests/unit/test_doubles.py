"""What the tests stand on: ports that are given once, and nodes that say why they cannot listen."""

import contextlib
import itertools
import socket
from pathlib import Path

import pytest

from mcpd.setup import pki
from tests.support.agent import HOST, Node
from tests.support.waiting import Ports, free_port, ports_of


def test_a_port_is_given_again_only_when_all_were_given() -> None:
    some = [free_port() for _ in range(5)]
    assert len(set(some)) == 5
    ports = Ports(some)
    assert sorted(ports.free() for _ in some) == sorted(some)
    assert sorted(ports.free() for _ in some) == sorted(some)


def test_a_port_that_something_listens_on_is_not_given() -> None:
    taken, free = free_port(), free_port()
    with socket.create_server((HOST, taken)):
        assert {Ports([taken, free]).free() for _ in range(10)} == {free}
        with pytest.raises(AssertionError, match="no free port"):
            Ports([taken]).free()


def test_workers_share_no_port() -> None:
    workers = [set(ports_of(f"gw{number}")) for number in range(16)]
    assert all(not one & other for one, other in itertools.combinations(workers, 2))
    assert set.union(*workers) == set(ports_of(""))


def test_a_node_that_cannot_listen_says_so_and_is_closed(authority: pki.Authority, tmp_path: Path) -> None:
    with contextlib.closing(Node("rift", authority, tmp_path)) as node, socket.create_server((HOST, node.port)):
        with pytest.raises(OSError, match="in use"):
            node.listen()
