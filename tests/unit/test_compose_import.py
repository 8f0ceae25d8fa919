"""Compose files: what becomes of each key, what is told to be lost, and what is refused."""

from datetime import timedelta

import pytest
from hypothesis import example, given

from mcpctl.definitions.exporting import compose
from mcpctl.definitions.importing import Source, import_compose
from mcpctl.definitions.importing.names import full_image
from protos import grammar
from protos.parts import Health, Resources
from protos.spec import Component, Service
from tests.support.compose import FOLDER, imported, one, read, refused
from tests.support.strategies import services

FULL = """\
name: shop
x-common: &common
  restart: unless-stopped
  environment: &env {LOG: info, PORT: 8080, DEBUG: true}
services:
  api:
    <<: *common
    image: registry.example.net:5000/api:${TAG:-v1}
    container_name: shop-api
    command: serve --name "a b" $$HOME
    environment:
      <<: *env
      LOG: debug
      ODD: "$$x"
    ports: ["127.0.0.1:8080:80", "53:53/udp", "9000-9001:90-91"]
    volumes: ["./data:/data:ro", "cache:/cache", "/srv:/srv"]
    user: "1000:1001"
    networks: [back]
    depends_on: {db_main: {condition: service_healthy}}
    healthcheck: {test: [CMD, check, "-q"], interval: 1m30s, timeout: 3s, retries: 5, start_period: 10s}
    stop_grace_period: 1m
    mem_limit: 256m
    cpus: 0.5
    pids_limit: 77
    secrets: [key]
  db_main:
    image: postgres:16
    networks: {back: {}}
    healthcheck: {test: pg_isready -q}
networks: {back: {name: mcpnet}}
volumes: {cache: }
secrets: {key: {external: true}}
"""


def test_a_compose_file_becomes_a_service() -> None:
    found = imported(FULL, name="")
    assert found.service == Service(
        name="shop",
        node="rift",
        components=(
            Component(
                name="api",
                image="registry.example.net:5000/api:v1",
                network="mcpnet",
                user="1000:1001",
                restart="unless-stopped",
                ports=("127.0.0.1:8080:80", "53:53/udp", "9000:90", "9001:91"),
                volumes=("/home/kyle/Web App/data:/data:ro", "shop_cache:/cache", "/srv:/srv"),
                cmd=("serve", "--name", "a b", "$HOME"),
                env={"LOG": "debug", "PORT": "8080", "DEBUG": "true", "ODD": "$x"},
                secrets=("key",),
                depends_on=("db-main",),
                stop_timeout=timedelta(minutes=1),
                health=Health(
                    cmd=("check", "-q"),
                    interval=timedelta(seconds=90),
                    timeout=timedelta(seconds=3),
                    retries=5,
                    start_period=timedelta(seconds=10),
                ),
                resources=Resources(256 * 2**20, 0.5, 77),
            ),
            Component(
                name="db-main",
                image="docker.io/library/postgres:16",
                network="mcpnet",
                health=Health(cmd=("sh", "-c", "pg_isready -q"), timeout=timedelta(seconds=30)),
            ),
        ),
    )
    assert [each.path for each in found.losses] == [
        "services.db_main",
        "services.api.volumes[0]",
        "volumes.cache",
        "services.api",
        "services.db_main",
    ]


@given(services())
# A name with two hyphens in a row is a valid one, and stays.
@example(Service("0--0", "rift", components=(Component("a--b", "localhost/x:1"),)))
def test_what_was_exported_is_imported_again(made: Service) -> None:
    (file,) = compose.export(made).files
    again = import_compose(file.text, Source(FOLDER, {}, read), name=made.name, node=made.node).service
    for before, after in zip(made.components, again.components, strict=True):
        assert list(map(grammar.port, after.ports)) == list(map(grammar.port, before.ports))
        assert after.image == full_image(before.image)
        for field in ("name", "network", "user", "restart", "cmd", "env", "secrets", "depends_on"):
            assert getattr(after, field) == getattr(before, field), field
        assert after.resources.memory == before.resources.memory
        assert after.resources.pids == before.resources.pids


# -- single keys


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ("command: sh -c 'echo \"a b\"'", "cmd", ("sh", "-c", 'echo "a b"')),
        ("command: [a, 'b c', 1]", "cmd", ("a", "b c", "1")),
        ("command:", "cmd", ()),
        ("environment: [A=1, B=x=y, C=]", "env", {"A": "1", "B": "x=y", "C": ""}),
        ("environment: {A: 0123, B: 1e3, C: 2024-01-01, D: yes, E: '', F: 1.10}", "env",
         {"A": "0123", "B": "1e3", "C": "2024-01-01", "D": "yes", "E": "", "F": "1.10"}),
        ("environment:\n  A: |\n    two\n    lines\n", "env", {"A": "two\nlines\n"}),
        ("env_file: later.env", "env", {"A": "2", "E": ""}),
        ("ports: ['8080:80/tcp', '[::1]:81:81']", "ports", ("8080:80", "[::1]:81:81")),
        ("ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp, mode: host}]", "ports",
         ("127.0.0.1:8080:80/udp",)),
        ("volumes: [{type: bind, source: /srv, target: /srv, read_only: true, bind: {propagation: rslave}}]",
         "volumes", ("/srv:/srv:ro,rslave",)),
        ("network_mode: host", "network", "host"),
        ("network_mode: none", "network", "none"),
        ("network_mode: bridge", "network", None),
        ("healthcheck: {disable: true, test: x}", "health", None),
        ("healthcheck: {test: [NONE]}", "health", None),
        ("healthcheck: {test: [CMD-SHELL, a && b], timeout: 5s}", "health", Health(cmd=("sh", "-c", "a && b"))),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}", "restart", "on-failure:3"),
        ("deploy: {restart_policy: {condition: any}, replicas: 1}", "restart", "always"),
        ("deploy: {resources: {limits: {memory: 1.5G, cpus: '.25', pids: 9}}}", "resources",
         Resources(3 * 2**29, 0.25, 9)),
        ("pids_limit: -1", "resources", Resources()),
        ("mem_limit: 1000", "resources", Resources(1000)),
        ("mem_limit: 9007199254740993b", "resources", Resources(2**53 + 1)),
        ("stop_grace_period: 1h2m3.5s", "stop_timeout", timedelta(hours=1, minutes=2, seconds=3.5)),
        ("container_name: web-api", "name", "api"),
        ("x-anything: {a: $broken}", "name", "api"),
    ],
)  # fmt: skip
def test_what_is_imported_without_a_word(body: str, field: str, expected: object) -> None:
    if body.startswith("x-"):
        body = body.replace("$", "$$")
    component, lost = one(body)
    assert getattr(component, field) == expected
    assert lost == []


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ("environment: [A]", ["environment.A"]),
        ("environment: {A: }", ["environment.A"]),
        ("env_file: [app.env, missing.env]", ["env_file (app.env)", "env_file"]),
        ("ports: ['80', '80/sctp', '81:81/sctp']", ["ports[0]", "ports[1]", "ports[2]"]),
        ("ports: ['8080-8090:80']", ["ports[0]"]),
        ("volumes: [/data, '~/x:/x', '/a:/b:cached']", ["volumes[0]", "volumes[1]", "volumes[2]"]),
        ("volumes: [{type: tmpfs, target: /tmp}]", ["volumes[0]"]),
        ("networks: {host: {aliases: [a]}, two: }", ["networks.two", "networks.host", "networks.host"]),
        ("network_mode: service:db", ["network_mode"]),
        ("container_name: other", ["container_name"]),
        ("build: .\nextends: {service: x}\nprofiles: [a]\nconfigs: [b]", ["extends", "profiles", "configs", "build"]),
        ("privileged: true\ncap_add: [ALL]", ["privileged", "cap_add"]),
        ("deploy: {replicas: 3, mode: global}", ["deploy.replicas", "deploy.mode"]),
        ("deploy: {resources: {reservations: {cpus: 1}}}", ["deploy.resources.reservations"]),
        ("healthcheck: {interval: 5s}", ["healthcheck.test"]),
        ("healthcheck: {test: [CMD, a], start_interval: 1s}", ["healthcheck.start_interval"]),
        ("secrets: [key]", ["secrets.key"]),
        ("secrets: [{source: key, target: other}]", ["secrets[0].target", "secrets.key"]),
    ],
)
def test_what_is_lost_is_told(body: str, lost: list[str]) -> None:
    assert [each.removeprefix("networks.") if each == "networks.host" else each for each in one(body)[1]] == [
        each.removeprefix("networks.") if each == "networks.host" else each for each in lost
    ]


def test_an_env_file_is_weaker_than_the_environment_and_a_later_one_stronger() -> None:
    component, _ = one("env_file: [app.env, {path: later.env}]\nenvironment: {B: mine}")
    assert component.env == {"A": "2", "B": "mine", "C": "plain", "E": ""}
    assert one("env_file: app.env")[0].env["B"] == "two words"


# -- images


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("redis", "docker.io/library/redis"),
        ("redis:alpine", "docker.io/library/redis:alpine"),
        ("redis@sha256:" + "a" * 64, "docker.io/library/redis@sha256:" + "a" * 64),
        ("redis:7@sha256:" + "a" * 64, "docker.io/library/redis:7@sha256:" + "a" * 64),
        ("org/x", "docker.io/org/x"),
        ("org/x/y:v1", "docker.io/org/x/y:v1"),
        ("docker.io/redis:7", "docker.io/library/redis:7"),
        ("index.docker.io/org/x", "docker.io/org/x"),
        ("ghcr.io/x", "ghcr.io/x"),
        ("localhost/x", "localhost/x"),
        ("host:5000/x", "host:5000/x"),
        ("[::1]:5000/x", "[::1]:5000/x"),
        ("Registry/x", "Registry/x"),
        ("b" * 64, "b" * 64),
    ],
)
def test_an_image_is_written_with_its_registry(short: str, full: str) -> None:
    found = imported(f"services: {{a: {{image: '{short}'}}}}")
    assert (found.service.components[0].image, found.losses) == (full, ())


def test_an_image_that_is_built_is_not_taken_for_dockers() -> None:
    assert imported("services: {a: {image: mine, build: .}}").service.components[0].image == "mine"


def test_several_services_share_the_projects_network() -> None:
    found = imported("name: shop\nservices: {a: {image: x}, b: {image: y}}")
    assert {each.network for each in found.service.components} == {"shop_default"}
    told = [str(each) for each in found.losses]
    assert any("named shop_default" in each for each in told)
    assert any("reach it as web-a, not as a" in each for each in told)


def test_names_that_are_none_are_converted() -> None:
    found = imported("services: {My_DB.1: {image: x}, other: {image: y, depends_on: [My_DB.1]}}")
    assert found.service.component_names == ("my-db-1", "other")
    assert found.service.components[1].depends_on == ("my-db-1",)
    assert "renamed my-db-1" in str(found.losses[0])


def test_the_folder_names_a_service_without_a_name() -> None:
    assert imported("services: {a: {image: x}}", name="").service.name == "webapp"


def test_volumes_and_networks_keep_a_name_of_their_own() -> None:
    found = imported(
        "services: {a: {image: x, volumes: ['v:/v', 'w:/w'], networks: [n]}}\n"
        "volumes: {v: {name: data}, w: {external: true}}\nnetworks: {n: {external: {name: net}}}"
    )
    (component,) = found.service.components
    assert (component.volumes, component.network) == (("data:/v", "w:/w"), "net")
    assert found.losses == ()


# -- refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {a: {build: .}}", "services.a.build: mcpctl builds no images"),
        ("services: {a: {}}", "services.a.image: is missing"),
        ("services: {}", "services: the file has none"),
        ("[]", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [id]", "tag !!python/object/apply:os.system is not supported"),
        ("services: !reset {}", "tag !reset is not supported"),
        ("a: 1\na: 2", "line 2: duplicate key 'a'"),
        ("services: {a: {image: x, depends_on: [b]}}", "names 'b', which is not a service"),
        ("services: {a: {image: x, ports: ['1-3:1-2']}}", "ranges of different lengths"),
        ("services: {a: {image: x, ports: ['99999:1']}}", "a port is 1 to 65535"),
        ("services: {a: {image: x, ports: ['1-9999:1-9999']}}", "range of at most"),
        ("services: {a: {image: 'A B'}}", "is not an image reference"),
        ("services: {a: {image: x, mem_limit: lots}}", "'lots' is not a size"),
        ("services: {a: {image: x, stop_grace_period: 10}}", "is not a duration"),
        ('services: {a: {image: x, command: "\'"}}', "is not a command"),
        ("services: {a: {image: [x]}}", "services.a.image: expected a string, found a list"),
        ("services: {a: {image: x, restart: sometimes}}", "is not a restart policy"),
    ],
)
def test_what_cannot_be_imported_is_said(text: str, message: str) -> None:
    assert message in refused(text)


def test_every_problem_is_said_at_once() -> None:
    text = refused("services: {a: {build: .}, b: {image: x, mem_limit: lots, depends_on: [c]}}")
    assert len(text.splitlines()) == 3
