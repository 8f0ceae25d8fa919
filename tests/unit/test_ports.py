"""Whose a host port is: decided from values, case by case."""

from __future__ import annotations

import socket

import pytest

from mcpd.changes.ports import claims_of, conflicts, declared, foreign, is_taken, needs, published
from mcpd.runtime import sockets
from mcpd.runtime.sockets import EVERY_ADDRESS, Socket
from monitor.model import Desired, Observed
from tests.support.builders import component, container, recorded, recorded_service


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("80:1", "80:2", True),
        ("80:1", "81:1", False),
        ("80:1", "80:1/udp", False),
        ("127.0.0.1:80:1", "80:1", True),
        ("127.0.0.1:80:1", "0.0.0.0:80:1", True),
        ("127.0.0.1:80:1", "127.0.0.2:80:1", False),
        ("0.0.0.0:80:1", "[::]:80:1", False),
        ("[::]:80:1", "[::1]:80:1", True),
        ("[0:0::1]:80:1", "[::1]:80:1", True),
        ("[::1]:80:1", "80:1", True),
        ("79-81:1-3", "80:1", True),
        ("127.0.0.1:79-81:1-3/udp", "82:1/udp", False),
    ],
)
def test_when_two_cannot_have_a_port(one: str, other: str, meet: bool) -> None:
    assert published(one).meets(published(other)) is meet
    assert published(other).meets(published(one)) is meet


def test_who_has_the_port_is_named_with_what_to_do() -> None:
    wanted = needs("bad", [component("bad", ports=("127.0.0.1:80:1",))])
    theirs = container(component("front", ports=("80:1",)), service="big")
    assert conflicts(wanted, claims_of([theirs])) == (
        "bad/bad needs the host port 127.0.0.1:80/tcp, which big/front has (container big-front); change `ports` of "
        "one of the two, or `mcpctl stop big/front` (`mcpctl undeploy big/front` removes it)",
    )
    (said,) = conflicts(wanted, claims_of([container(component("x", ports=("80:1",)), service="", name="odd")]))
    assert "the container odd has, which mcp does not manage; change `ports`, or `podman stop odd`" in said


@pytest.mark.parametrize("network", ["host", "none"])
def test_what_has_no_network_of_its_own_publishes_nothing(network: str) -> None:
    assert needs("bad", [component(ports=("80:1",), network=network)]) == []


@pytest.mark.parametrize("desired", Desired)
def test_what_another_service_is_declared_to_have_is_its_own_while_it_should_run(desired: Desired) -> None:
    known = recorded_service(recorded(component(ports=("80:1",)), desired=desired, observed=Observed.EXITED))
    wanted = needs("bad", [component("bad", ports=("80:2",))])
    assert bool(conflicts(wanted, declared([known], "bad"))) is (desired not in (Desired.STOPPED, Desired.IGNORE))
    assert declared([known], "web") == []
    # Of its own service: what is not deployed with it.
    own = declared([known], "web", {known.components[0].spec.name})
    assert bool(own) is (desired not in (Desired.STOPPED, Desired.IGNORE))
    assert all("deploy both, `mcpctl deploy web`" in each.remedy for each in own)
    assert declared([known], "web", {"another"}) == []


def test_a_socket_of_a_container_is_not_another_process() -> None:
    wanted = needs("web", [component(ports=("80:1",))])
    listening = [Socket("0.0.0.0", 80, "tcp"), Socket("127.0.0.9", 80, "tcp")]
    ours = container(component(ports=("0.0.0.0:80:1",)))
    assert foreign(wanted, listening, [ours]) == []
    elsewhere = container(component(ports=("10.0.0.1:80:1",)))
    assert foreign(wanted, listening[1:], [elsewhere]) == listening[1:]


@pytest.mark.parametrize(
    ("text", "ip", "meets"),
    [
        ("80:1", EVERY_ADDRESS, True),
        ("127.0.0.1:80:1", EVERY_ADDRESS, True),
        # IPv6 only, which podman does without.
        ("80:1", "::", False),
        ("80:1", "::1", False),
        ("127.0.0.1:80:1", "127.0.0.2", False),
    ],
)
def test_a_socket_keeps_only_its_own_addresses_from_others(text: str, ip: str, meets: bool) -> None:
    wanted = needs("web", [component(ports=(text,))])
    assert bool(foreign(wanted, [Socket(ip, 80, "tcp")], [])) is meets


def test_the_kernels_table_is_read() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    rest = "00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n"
    v4 = f"   0: 0100007F:4AF7 00000000:0000 0A {rest}   1: 0100007F:4AF8 00000000:0000 01 {rest}"
    assert list(sockets.parsed(head + v4, "tcp", byteorder="little")) == [Socket("127.0.0.1", 19191, "tcp", 1000, 4711)]
    v6 = f"   0: 00000000000000000000000001000000:0050 {'0' * 32}:0000 07 {rest}"
    assert list(sockets.parsed(head + v6, "udp", byteorder="little")) == [Socket("::1", 80, "udp", 1000, 4711)]


async def test_a_real_socket_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (found,) = await sockets.held({(port, "tcp")})
        assert (found.ip, found.port) == ("127.0.0.1", port)
        assert "(pid " in str(await sockets.owner(found))
    assert await sockets.held({(port, "tcp")}) == ()


@pytest.mark.parametrize("dual", [True, False])
async def test_an_ipv6_socket_has_the_port_in_ipv4_only_when_it_is_in_both(dual: bool) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=dual) as listening:
        (found,) = await sockets.held({(listening.getsockname()[1], "tcp")})
    assert found.ip == (EVERY_ADDRESS if dual else "::")


@pytest.mark.parametrize(
    "words",
    [
        "cannot listen on the TCP port: listen tcp4 127.0.0.1:80: bind: address already in use",
        "pasta failed with exit code 1: Failed to bind port 80 (Address already in use) for option '-t 80'",
    ],
)
def test_podman_says_in_several_ways_that_a_port_is_taken(words: str) -> None:
    assert is_taken(words)
