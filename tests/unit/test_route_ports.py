"""The ports by which the proxy reaches a container: what podman is told, and what is read from the container again."""

from __future__ import annotations

import pytest

from mcpd.runtime.create import Surroundings, container_spec
from mcpd.runtime.route_ports import LABEL_ROUTE_PORTS, RoutePortOnNode, read
from mcpd.runtime.sockets import connected
from protos.fingerprint import spec_hash
from protos.parts import Route
from protos.spec import Component

# Of proc_pid_net(5): a listener, a client at port 8080, one that is closing, and one at another port.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0200590A:1F90 0100590A:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0200590A:1F90 0100590A:D432 06 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0200590A:0050 0100590A:D433 01 00000000:00000000 00:00000000 00000000     0        0 4 1
"""


def test_a_container_publishes_its_ports_on_loopback_and_remembers_them() -> None:
    component = Component("web", "x", routes=(Route("a.b", port=80), Route("c.d"), Route("e.f", name="admin")))
    among = Surroundings(route_ports={"80": 20000, "port": 20001, "admin": 20002})
    made = container_spec("web", "rift", "shop", component, spec_hash(component), among)
    assert made["portmappings"] == [
        {"host_ip": "127.0.0.1", "host_port": outside, "container_port": inside, "protocol": "tcp"}
        for outside, inside in ((20000, 80), (20001, 8080), (20002, 8081))
    ]
    assert made["env"] == {"PORT": "8080", "PORT_ADMIN": "8081"}
    assert read(made["labels"]) == {
        "80": RoutePortOnNode(20000, 80),
        "port": RoutePortOnNode(20001, 8080),
        "admin": RoutePortOnNode(20002, 8081),
    }


def test_on_the_nodes_own_network_it_listens_where_the_proxy_asks() -> None:
    component = Component("web", "x", network="host", routes=(Route("a.b"),))
    among = Surroundings(route_ports={"port": 20001})
    made = container_spec("web", "rift", "shop", component, spec_hash(component), among)
    assert made.get("portmappings", []) == []
    assert made["env"] == {"PORT": "20001"}
    assert read(made["labels"]) == {"port": RoutePortOnNode(20001, 20001)}


def test_a_container_that_starts_beside_another_is_found_by_the_name_that_it_will_have() -> None:
    component = Component("web", "x", routes=(Route("a.b"),))
    made = container_spec("shop-web.next", "rift", "shop", component, "", Surroundings(called="shop-web"))
    assert "shop-web" in made["networks"]["shop"]["aliases"]


@pytest.mark.parametrize("text", ["", "80", "80=", "80=x/80", "80=20000", "80=20000/", ",", "="])
def test_a_label_that_makes_no_sense_says_nothing(text: str) -> None:
    assert read({LABEL_ROUTE_PORTS: text}) == {}


def test_connections_are_those_that_are_established() -> None:
    assert list(connected(TABLE)) == [8080, 80]
