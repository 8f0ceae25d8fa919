"""Compose files: what things are called, who finds whom by which name, and who waits for whom."""

import pytest

from mcpctl.definitions.loss import Grade
from protos.parts import Network, NetworkDeclaration, Volume
from tests.support.compose import imported, messages, one, refused, told


def test_components_without_networks_join_the_services_own_where_they_have_their_names() -> None:
    found = imported("name: shop\nservices: {a: {image: x}, b: {image: y}}")
    assert [each.network for each in found.service.components] == [None, None]
    assert [list(each.joins("web")) for each in found.service.components] == [[Network("web")]] * 2
    assert told(found) == {}


def test_names_that_are_none_are_converted_and_the_old_ones_still_lead_there() -> None:
    found = imported("services: {My_DB.1: {image: x}, other: {image: y, depends_on: [My_DB.1]}}")
    assert found.service.component_names == ("my-db-1", "other")
    assert found.service.components[0].networks == (Network("web", ("My_DB.1",)),)
    assert found.service.components[1].depends_on == ("my-db-1",)
    (line,) = messages(found, Grade.CHANGED)
    assert "is called my-db-1" in line
    assert "as My_DB.1, an alias" in line


def test_names_that_become_alike_stay_apart() -> None:
    found = imported("services: {a_b: {image: x}, a-b: {image: x}, A.B: {image: x}, _: {image: x}}")
    assert found.service.component_names == ("a-b-2", "a-b", "a-b-3", "component-4")


def test_the_folder_names_a_service_without_a_name() -> None:
    assert imported("services: {a: {image: x}}", name="").service.name == "webapp"
    assert imported("name: my_shop\nservices: {a: {image: x}}", name="").service.name == "my-shop"


def test_a_networks_name_is_composes_and_the_service_has_its_key_there() -> None:
    found = imported(
        "name: shop\nservices:\n  a:\n    image: x\n    container_name: box\n"
        "    networks: {default: , back: {aliases: [w, w], ipv4_address: 10.1.2.3, ipv6_address: '::3', priority: 5}}\n"
        "networks: {back: }"
    )
    (component,) = found.service.components
    assert component.networks == (
        Network("web", ("box",)),
        Network("shop_back", ("a", "box", "w"), ip="10.1.2.3", ip6="::3"),
    )
    assert [each.path for each in found.losses if each.kind is Grade.IGNORED] == ["services.a.networks.back.priority"]
    assert any("networks.back: is called shop_NAME" in each for each in messages(found, Grade.CHANGED))


def test_volumes_and_networks_keep_a_name_of_their_own() -> None:
    found = imported(
        "services: {a: {image: x, volumes: ['v:/v', 'w:/w'], networks: [n]}}\n"
        "volumes: {v: {name: data}, w: {external: true}}\nnetworks: {n: {external: {name: net}}}"
    )
    (component,) = found.service.components
    assert (component.volumes, component.networks) == (("data:/v", "w:/w"), (Network("net", ("a",)),))
    assert (found.service.volumes, found.service.networks) == (
        {"w": Volume(external=True)},
        {"net": NetworkDeclaration(external=True)},
    )
    assert found.losses == ()


def test_what_a_network_is_made_with_is_declared() -> None:
    found = imported(
        "services: {a: {image: x, networks: [n, m]}}\nnetworks:\n"
        "  n: {name: n, internal: true, enable_ipv6: true, labels: [a=b], driver: bridge,\n"
        "      driver_opts: {com.docker.network.driver.mtu: 1400},\n"
        "      ipam: {driver: default, config: [{subnet: 10.1.2.3/24, gateway: 10.1.2.9}, {subnet: 'fd00::/64',\n"
        "        gateway: 'fd00::1'}]}}\n"
        "  m: {name: m, driver: macvlan, driver_opts: {parent: eth0}}\n"
    )
    assert found.service.networks == {
        "n": NetworkDeclaration(
            subnets=("10.1.2.0/24", "fd00::/64"),
            gateway="10.1.2.9",
            internal=True,
            ipv6=True,
            options={"mtu": "1400"},
            labels={"a": "b"},
        ),
        "m": NetworkDeclaration(driver="macvlan", options={"parent": "eth0"}),
    }
    assert found.losses == ()


@pytest.mark.parametrize(
    ("default", "network", "declared"),
    [
        ("", None, {}),
        ("{driver: bridge}", None, {}),
        ("{name: net}", (Network("net", ("a",)),), {}),
        ("{external: true, name: net}", (Network("net", ("a",)),), {"net": NetworkDeclaration(external=True)}),
        ("{internal: true}", None, {"web": NetworkDeclaration(internal=True)}),
    ],
)
def test_a_default_network_of_the_file_is_honoured(
    default: str, network: tuple[Network, ...] | None, declared: dict[str, NetworkDeclaration]
) -> None:
    found = imported(f"services: {{a: {{image: x}}}}\nnetworks: {{default: {default}}}")
    assert (found.service.components[0].networks or None, found.service.networks) == (network, declared)


@pytest.mark.parametrize(
    ("networks", "network"),
    [
        ("{h: {external: true, name: host}}", "host"),
        ("{h: {driver: none}}", "none"),
        ("{h: {external: {name: bridge}}}", "bridge"),
    ],
)
def test_dockers_own_networks_are_modes(networks: str, network: str) -> None:
    found = imported(f"services: {{a: {{image: x, networks: [h]}}}}\nnetworks: {networks}")
    assert (found.service.components[0].network, found.service.networks) == (network, {})


@pytest.mark.parametrize(
    ("network", "lost"),
    [
        ("{driver: weave}", ["networks.n.driver"]),
        ("{enable_ipv4: false}", ["networks.n.enable_ipv4"]),
        ("{driver_opts: {com.docker.network.bridge.enable_icc: 'false'}}",
         ["networks.n.driver_opts.com.docker.network.bridge.enable_icc"]),
        ("{ipam: {driver: other, config: [{subnet: 10.1.0.0/16, ip_range: 10.1.2.0/24, aux_addresses: {a: b}}]}}",
         ["networks.n.ipam.driver", "networks.n.ipam.config[0].ip_range", "networks.n.ipam.config[0].aux_addresses"]),
        ("{ipam: {config: [{subnet: 10.1.0.0/16}, {subnet: 10.2.0.0/16, gateway: 10.2.0.9}]}}",
         ["networks.n.ipam.config[1].gateway"]),
    ],
)  # fmt: skip
def test_what_a_network_cannot_be_made_with_is_lost(network: str, lost: list[str]) -> None:
    found = imported(f"services: {{a: {{image: x, networks: [n]}}}}\nnetworks: {{n: {network}}}")
    assert told(found)["lost"] == lost


def test_an_address_that_podman_alone_may_give_is_lost() -> None:
    assert one("networks: {n: {mac_address: '02:42:ac:11:65:43', link_local_ips: [1.2.3.4], interface_name: x}}")[1][
        "lost"
    ] == ["networks.n.mac_address", "networks.n.link_local_ips", "networks.n.interface_name"]


# -- one in the namespace of another


def test_a_namespace_of_another_service_is_that_of_its_component() -> None:
    found = imported(
        "services:\n  vpn: {image: x, container_name: gluetun, ports: ['1:1']}\n"
        "  a: {image: y, network_mode: 'service:vpn', ports: ['80:80'], pid: 'service:vpn', ipc: 'container:gluetun'}\n"
        "  b: {image: y, network_mode: 'container:gluetun'}\n"
    )
    vpn, a, b = found.service.components
    assert (a.network, a.pid, a.ipc, b.network) == ("component:vpn",) * 4
    assert (vpn.ports, a.ports) == (("1:1", "80:80"), ())
    assert any("services.a.ports: are published by vpn" in each for each in messages(found, Grade.CHANGED))
    assert messages(found, Grade.LOST) == []


# -- links and dependencies


def test_a_link_is_a_dependency_and_its_alias_a_name_on_the_networks_of_the_other() -> None:
    found = imported(
        "services:\n  a: {image: x, links: [db, 'db:database']}\n  db: {image: y, networks: [n]}\n"
        "networks: {n: {name: n}}"
    )
    a, db = found.service.components
    assert a.depends_on == ("db",)
    assert db.networks == (Network("n", ("db", "database")),)
    assert [each.path for each in found.losses] == ["services.a.links[1]"]


def test_volumes_of_another_service_are_mounted_one_by_one() -> None:
    found = imported(
        "services:\n  a: {image: x, volumes: ['v:/v', '/srv/x:/x'], container_name: box}\n"
        "  b: {image: y, volumes_from: ['a:ro'], volumes: ['own:/x']}\n"
        "  c: {image: y, volumes_from: ['container:box']}\n"
        "volumes: {v: {name: v}, own: {name: own}}"
    )
    _, b, c = found.service.components
    assert {(each.target, each.source, each.options) for each in b.mounts} == {("/v", "v", ("ro",)), ("/x", "own", ())}
    assert {each.source for each in c.mounts} == {"v", "/srv/x"}
    assert (b.depends_on, c.depends_on) == (("a",), ("a",))


def test_what_others_wait_for_until_it_has_ended_is_a_oneshot() -> None:
    found = imported(
        "services:\n  migrate: {image: x, restart: unless-stopped, healthcheck: {test: x}}\n"
        "  web: {image: y, depends_on: {migrate: {condition: service_completed_successfully}}}\n"
    )
    migrate, web = found.service.components
    assert (migrate.oneshot, migrate.restart, migrate.health) == (True, "no", None)
    assert (web.oneshot, web.depends_on) == (False, ("migrate",))
    assert told(found) == {
        "changed": ["services.migrate", "services.migrate.restart"],
        "ignored": ["services.migrate.healthcheck"],
    }


@pytest.mark.parametrize("body", ["restart: 'no'", "exclude_from_hc: true"])
def test_who_may_end_by_itself_is_warned_about(body: str) -> None:
    assert one(body)[1]["warning"] == [""]


def test_conditions_that_a_component_cannot_have_are_lost() -> None:
    found = imported(
        "services:\n  db: {image: x}\n  a:\n    image: y\n"
        "    depends_on: {db: {condition: service_started, required: false, restart: true}}\n"
    )
    assert told(found)["lost"] == ["services.a.depends_on.db.required", "services.a.depends_on.db.restart"]
    assert found.service.components[1].depends_on == ("db",)


def test_a_cycle_is_refused_with_the_names_in_it() -> None:
    text = "services: {a: {image: x, links: [b]}, b: {image: x, network_mode: 'service:a'}}"
    assert "services: depends_on has a cycle: a -> b -> a" in refused(text)


def test_an_alias_that_podman_refuses_is_lost() -> None:
    found = imported("services: {a: {image: x, networks: {n: {aliases: [_bad_]}}}}")
    assert told(found)["lost"] == ["services.a.networks.n"]
    assert found.service.components[0].networks == (Network("webapp_n", ("a",)),)
