"""Compose files: what becomes of each key, what is told of it, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given

from mcpctl.definitions.exporting import compose
from mcpctl.definitions.importing import Source, import_compose
from mcpctl.definitions.importing.names import full_image
from mcpctl.definitions.loss import Grade
from mcpctl.images import names
from protos import grammar
from protos.parts import Health, Log, Mount, Network, Pull, Resources, Secret
from protos.spec import Component, Service
from tests.support.compose import FILE, FOLDER, Disk, imported, messages, one, refused
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
    container_name: box
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
                networks=(Network("mcpnet", ("api", "box")),),
                user="1000:1001",
                restart="unless-stopped",
                ports=("127.0.0.1:8080:80", "53:53/udp", "9000-9001:90-91"),
                volumes=(
                    "shop_cache:/cache",
                    Mount("/data", "/srv/shop/data", ("ro",), create=True),
                    Mount("/srv", "/srv", create=True),
                ),
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
                networks=(Network("mcpnet", ("db_main",)),),
                health=Health(cmd=("sh", "-c", "pg_isready -q"), timeout=timedelta(seconds=30)),
            ),
        ),
    )
    assert {(each.path, each.kind.value) for each in found.losses} == {
        ("services.db_main", "changed"),
        ("services.api.container_name", "changed"),
        ("services.api.volumes[0]", "changed"),
        ("volumes.cache", "changed"),
        ("x-common", "ignored"),
    }
    assert found.warnings == ()


# What every notation has a word for.
SHARED = ("name", "image", "user", "restart", "cmd", "env", "depends_on", "ports")


def shared(made: Service) -> Service:
    components = (Component(**{field: getattr(each, field) for field in SHARED}) for each in made.components)
    return Service(made.name, made.node, tuple(components))


@given(services().map(shared))
# A name with two hyphens in a row is a valid one, and stays.
@example(Service("0--0", "rift", components=(Component("a--b", "localhost/x:1"),)))
def test_what_was_exported_is_imported_again(made: Service) -> None:
    (file,) = compose.export(made).files
    disk = Disk({FILE: file.text})
    source = Source(FOLDER, {}, disk.read, disk.look)
    again = import_compose([FOLDER / FILE], source, name=made.name, node=made.node)
    assert messages(again, Grade.LOST) == []
    for before, after in zip(made.components, again.service.components, strict=True):
        assert list(map(grammar.port, after.ports)) == list(map(grammar.port, before.ports))
        assert after.image == full_image(before.image)
        for field in SHARED[2:-1]:
            assert getattr(after, field) == getattr(before, field), field


# -- single keys


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ("command: sh -c 'echo \"a b\"'", "cmd", ("sh", "-c", 'echo "a b"')),
        ("command: [a, 'b c', 1]", "cmd", ("a", "b c", "1")),
        ("command:", "cmd", ()),
        ("command: []", "cmd", ()),
        ("command: |\n  a \\\n  -b\n", "cmd", ("a", "-b")),
        ("entrypoint: /x.sh --y", "entrypoint", ("/x.sh", "--y")),
        ("entrypoint: ''", "entrypoint", ()),
        ("entrypoint: []", "entrypoint", ()),
        ("entrypoint:", "entrypoint", None),
        ("environment: [A=1, B=x=y, C=]", "env", {"A": "1", "B": "x=y", "C": ""}),
        ("environment: {A: 0123, B: 1e3, C: 2024-01-01, D: yes, E: '', F: 1.10}", "env",
         {"A": "0123", "B": "1e3", "C": "2024-01-01", "D": "yes", "E": "", "F": "1.10"}),
        ("environment:\n  A: |\n    two\n    lines\n", "env", {"A": "two\nlines\n"}),
        ("environment: [{A: 1}, '', 'B =2']", "env", {"A": "1", "B": "2"}),
        ("env_file: later.env", "env", {"A": "2", "E": ""}),
        ("ports: ['8080:80/tcp', '[::1]:81:81', '80', '81/udp', '127.0.0.1::82', '0:83']", "ports",
         ("8080:80", "[::1]:81:81", "80", "81/udp", "127.0.0.1::82", "83")),
        ("ports: ['81:81/sctp', '53:53/UDP', '53:53/udp', ' 90 : 90 ']", "ports",
         ("81:81/sctp", "53:53/udp", "90:90")),
        ("ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp}]", "ports",
         ("127.0.0.1:8080:80/udp",)),
        ("ports: [{target: 80}]", "ports", ("80",)),
        ("working_dir: /x", "workdir", "/x"),
        ("hostname: web.example.net", "hostname", "web.example.net"),
        ("init: true", "init", True),
        ("init: 'yes'\ntty: on", "tty", True),
        ("privileged: false", "privileged", False),
        ("stdin_open: true", "interactive", True),
        ("read_only: TRUE", "read_only", True),
        ("group_add: [audio, 44]", "group_add", ("audio", "44")),
        ("extra_hosts: ['a:10.0.0.1', 'b=::1', 'c:[::2]', 'd:host-gateway']", "add_hosts",
         ("a:10.0.0.1", "b:::1", "c:::2", "d:host-gateway")),
        ("extra_hosts: {a: 10.0.0.1, b: [10.0.0.2, '::1']}", "add_hosts", ("a:10.0.0.1", "b:10.0.0.2", "b:::1")),
        ("dns: 9.9.9.9", "dns", ("9.9.9.9",)),
        ("dns: [9.9.9.9, '::1']", "dns", ("9.9.9.9", "::1")),
        ("dns_search: example.net", "dns_search", ("example.net",)),
        ("dns_opt: ['ndots:1', use-vc]", "dns_options", ("ndots:1", "use-vc")),
        ("tmpfs: /run", "tmpfs", ("/run",)),
        ("tmpfs: [/run, '/tmp:size=64m,mode=1777,exec']", "tmpfs", ("/run", "/tmp:size=64m,mode=1777,exec")),
        ("shm_size: 2gb", "shm_size", 2 * 2**30),
        ("devices: [/dev/dri, '/dev/a:/dev/b:rw', '/dev/c:r', vendor.com/x=y]", "devices",
         ("/dev/dri", "/dev/a:/dev/b:rw", "/dev/c:/dev/c:r", "vendor.com/x=y")),
        ("devices: [{source: /dev/a, target: /dev/b, permissions: r}]", "devices", ("/dev/a:/dev/b:r",)),
        ("ulimits: {nofile: 4096, nproc: {soft: 1, hard: 2}, core: {hard: -1}}", "ulimits",
         {"nofile": "4096", "nproc": "1:2", "core": "-1"}),
        ("sysctls: {net.core.somaxconn: 1024}", "sysctls", {"net.core.somaxconn": "1024"}),
        ("sysctls: [net.core.somaxconn=1024]", "sysctls", {"net.core.somaxconn": "1024"}),
        ("cap_add: [net_admin, SYS_TIME, net_admin]", "cap_add", ("NET_ADMIN", "SYS_TIME")),
        ("cap_drop: [all]", "cap_drop", ("ALL",)),
        ("security_opt: ['no-new-privileges:true', seccomp=unconfined]", "security_opt",
         ("no-new-privileges:true", "seccomp=unconfined")),
        ("userns_mode: host", "userns", "host"),
        ("pid: host", "pid", "host"),
        ("ipc: shareable", "ipc", "shareable"),
        ("stop_signal: SIGINT", "stop_signal", "SIGINT"),
        ("labels: [a=b=c, d]", "labels", {"a": "b=c", "d": ""}),
        ("labels: {a: 1, b: }", "labels", {"a": "1", "b": ""}),
        ("annotations: {a: b}", "annotations", {"a": "b"}),
        ("platform: linux/arm64/v8", "platform", "linux/arm64/v8"),
        ("platform: amd64", "platform", "linux/amd64"),
        ("pull_policy: always", "pull", Pull.ALWAYS),
        ("pull_policy: if_not_present", "pull", Pull.MISSING),
        ("pull_policy: never", "pull", Pull.NEVER),
        ("logging: {driver: journald, options: {tag: web}}", "log", Log("journald", tag="web")),
        ("logging: {driver: none}", "log", Log("none")),
        ("logging: {options: {max-size: 10m}}", "log", Log(max_size=10 * 2**20)),
        ("network_mode: host", "network", "host"),
        ("network_mode: none", "network", "none"),
        ("network_mode: bridge", "network", "bridge"),
        ("network_mode: default", "network", "bridge"),
        ("healthcheck: {disable: true, test: x}", "health", Health(disable=True)),
        ("healthcheck: {test: [NONE]}", "health", Health(disable=True)),
        ("healthcheck: {test: NONE}", "health", Health(disable=True)),
        ("healthcheck: {}", "health", None),
        ("healthcheck: {test: [CMD-SHELL, a && b], timeout: 5s}", "health", Health(cmd=("sh", "-c", "a && b"))),
        ("healthcheck: {test: [CMD, a], timeout: 5, interval: 0s, retries: 0, start_interval: 1s}", "health",
         Health(cmd=("a",), start_interval=timedelta(seconds=1))),
        ("restart: no", "restart", "no"),
        ("restart: on-failure:3", "restart", "on-failure:3"),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}", "restart", "on-failure:3"),
        ("restart: always\ndeploy: {restart_policy: {condition: none}}", "restart", "no"),
        ("deploy: {restart_policy: {condition: any}, replicas: 1}", "restart", "always"),
        ("deploy: {resources: {limits: {memory: 1.5G, cpus: '.25', pids: 9}}}", "resources",
         Resources(3 * 2**29, 0.25, 9)),
        ("deploy: {resources: {reservations: {memory: 1G}}}", "resources", Resources(memory_reservation=2**30)),
        ("mem_limit: 2g\nmemswap_limit: -1\nmem_reservation: 1g\ncpu_shares: 512\ncpuset: 0-3\noom_score_adj: -5",
         "resources", Resources(2**31, memory_swap=-1, memory_reservation=2**30, cpu_shares=512, cpuset="0-3",
                                oom_score_adj=-5)),
        ("pids_limit: -1", "resources", Resources()),
        ("mem_limit: 1000", "resources", Resources(1000)),
        ("mem_limit: 9007199254740993b", "resources", Resources(2**53 + 1)),
        ("mem_limit: ''\ncpus: ''", "resources", Resources()),
        ("stop_grace_period: 1h2m3.5s", "stop_timeout", timedelta(hours=1, minutes=2, seconds=3.5)),
        ("stop_grace_period: 90", "stop_timeout", timedelta(seconds=90)),
        ("stop_grace_period: 1w", "stop_timeout", timedelta(weeks=1)),
        ("container_name: web-api", "name", "api"),
        ("user: ''", "user", None),
        ("user: '1000:'", "user", "1000"),
        ("user: ':1000'", "user", "0:1000"),
        ("runtime: ''\nlinks: []\nprofiles: []\nuts: ''", "name", "api"),
    ],
)  # fmt: skip
def test_what_is_imported_without_a_word(body: str, field: str, expected: object) -> None:
    component, told = one(body)
    assert getattr(component, field) == expected
    told.pop("warning", None) if "restart: no" in body else None
    assert told == {}


def values(*fields: str) -> Any:
    """Picks fields of a component."""
    return lambda component: tuple(getattr(component, each) for each in fields)


@pytest.mark.parametrize(
    ("body", "field", "expected", "paths"),
    [
        ("container_name: other", "networks", (Network("web", ("other",)),), ["container_name"]),
        ("ports: ['8080-8090:80']", "ports", ("8080:80",), ["ports[0]"]),
        ("logging: {driver: json-file, options: {max-size: 10m}}", "log", Log(max_size=10 * 2**20), ["logging.driver"]),
        ("logging: {driver: local}", "log", Log(), ["logging.driver"]),
        ("pull_policy: daily", "pull", Pull.NEWER, ["pull_policy"]),
        ("pull_policy: every_12h", "pull", Pull.NEWER, ["pull_policy"]),
        ("hostname: mail\ndomainname: example.net", "hostname", "mail.example.net", ["domainname"]),
        ("scale: 0", "active", False, ["scale"]),
        ("deploy: {replicas: 0}", "active", False, ["deploy.replicas"]),
        ("cpu_quota: 50000", "resources", Resources(cpus=0.5), ["cpu_quota"]),
        ("cpu_quota: 50000\ncpu_period: 25000", "resources", Resources(cpus=2.0), ["cpu_quota"]),
        ("gpus: all", "devices", ("nvidia.com/gpu=all",), ["gpus[0]"]),
        ("gpus: [{count: 2}]", "devices", ("nvidia.com/gpu=0", "nvidia.com/gpu=1"), ["gpus[0]"]),
        ("gpus: [{driver: amd, device_ids: ['1']}]", "devices", ("amd.com/gpu=1",), ["gpus[0]"]),
        ("deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}",
         "devices", ("nvidia.com/gpu=all",), ["deploy.resources.reservations.devices[0]"]),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [[gpu]], device_ids: ['0', GPU-ab]}]}}}",
         "devices", ("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-ab"), ["deploy.resources.reservations.devices[0]"]),
        ("runtime: nvidia", "devices", ("nvidia.com/gpu=all",), ["runtime"]),
        ("runtime: nvidia\ngpus: [{device_ids: ['3']}]", "devices", ("nvidia.com/gpu=3",), ["gpus[0]", "runtime"]),
        ("healthcheck: {test: [CMD, a], timeout: 5s, retries: 5000}", "health", Health(cmd=("a",), retries=1000),
         ["healthcheck.retries"]),
        ("network_mode: mynet", "network", "mynet", ["network_mode"]),
        ("env_file: ./.env", "env_file", ("web.env",), ["env_file"]),
        ("env_file: [sub/db.env, x]", "env_file", ("web-db.env", "web-x.env"), ["env_file", "env_file"]),
    ],
)  # fmt: skip
def test_what_is_only_written_otherwise_is_changed(body: str, field: str, expected: object, paths: list[str]) -> None:
    component, told = one(body)
    assert (getattr(component, field), told) == (expected, {"changed": paths})


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ("expose: [80]", ["expose"]),
        ("exclude_from_hc: false\nx-y: 1\ndevelop: {watch: []}\nattach: false", ["exclude_from_hc", "x-y", "develop",
         "attach"]),
        ("isolation: default\nruntime: runc\ncpu_count: 2", ["isolation", "runtime", "cpu_count"]),
        ("deploy: {mode: global, labels: [a=b], update_config: {order: start-first}, placement: {}}",
         ["deploy.labels", "deploy.mode", "deploy.update_config", "deploy.placement"]),
        ("deploy: {restart_policy: {condition: any, delay: 5s, window: 1m}}",
         ["deploy.restart_policy.delay", "deploy.restart_policy.window"]),
        ("deploy: {resources: {reservations: {cpus: 1}}}", ["deploy.resources.reservations.cpus"]),
        ("logging: {options: {max-file: 3, compress: true}}", ["logging.options.max-file", "logging.options.compress"]),
        ("ports: [{target: 80, name: web, mode: host, app_protocol: http}, '']", ["ports[1]"]),
        ("memswap_limit: 1g", ["memswap_limit"]),
        ("network_mode: host\nports: ['80:80']", ["ports"]),
        ("depends_on: {nobody: {condition: service_started, required: false}}", ["depends_on.nobody"]),
        ("extra_hosts: ['a:', 'b']", ["extra_hosts", "extra_hosts"]),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_ignored(body: str, paths: list[str]) -> None:
    assert one(body)[1] == {"ignored": paths}


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ("scale: 2", ["scale"]),
        ("deploy: {replicas: 3}", ["deploy.replicas"]),
        ("external_links: [x]\nmac_address: 02:42:ac:11:65:43", ["external_links", "mac_address"]),
        ("uts: host\ncgroup: host\ncgroup_parent: x\nisolation: hyperv",
         ["uts", "cgroup", "cgroup_parent", "isolation"]),
        ("device_cgroup_rules: ['c 1:3 mr']\ncredential_spec: {file: x}", ["device_cgroup_rules", "credential_spec"]),
        ("post_start: [{command: x}]\npre_stop: [{command: x}]", ["post_start", "pre_stop"]),
        ("use_api_socket: true\nmodels: [m]", ["use_api_socket", "models"]),
        ("mem_swappiness: 5\noom_kill_disable: true\nblkio_config: {weight: 1}\nstorage_opt: {size: 1G}",
         ["mem_swappiness", "oom_kill_disable", "blkio_config", "storage_opt"]),
        ("cpu_rt_runtime: 1\ncpu_rt_period: 2", ["cpu_rt_runtime", "cpu_rt_period"]),
        ("runtime: io.containerd.kata.v2", ["runtime"]),
        ("logging: {driver: syslog, options: {syslog-address: x}}", ["logging.driver"]),
        ("healthcheck: {interval: 5s}", ["healthcheck"]),
        ("security_opt: [bogus=1]", ["security_opt[0]"]),
        ("userns_mode: odd\nipc: odd\npid: 'container:x'", ["userns_mode", "ipc", "pid"]),
        ("network_mode: 'container:elsewhere'", ["network_mode"]),
        ("ulimits: {odd: 1}", ["ulimits.odd"]),
        ("hostname: 'https://x'\nextra_hosts: ['a:b', 'c:10.0.0.1']", ["hostname", "extra_hosts[0]"]),
        ("labels: {mcp.x: 1}", ["labels.mcp.x"]),
        ("tmpfs: ['/x:odd option']", ["tmpfs[0]"]),
        ("domainname: example.net", ["domainname"]),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [tpu]}]}}}",
         ["deploy.resources.reservations.devices[0]"]),
        ("volumes_from: ['container:x']", ["volumes_from[0]"]),
        ("build: {dockerfile_inline: FROM x}", ["build.dockerfile_inline"]),
    ],
)  # fmt: skip
def test_what_is_lost_is_told_most_of_all(body: str, lost: list[str]) -> None:
    assert sorted(one(body)[1]["lost"]) == sorted(lost)


def test_nothing_is_lost_where_what_could_be_says_no() -> None:
    body = "oom_kill_disable: false\nuse_api_socket: false\ncgroup: private\ndepends_on: {api2: {restart: false}}"
    found = imported(
        "services:\n  api2: {image: y}\n  api:\n    image: x\n" + "".join(f"    {each}\n" for each in body.splitlines())
    )
    assert messages(found, Grade.LOST) == []


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


@pytest.mark.parametrize(
    ("body", "image"),
    [
        ("build: .", "localhost/shop_a:latest"),
        ("image: mine\n    build: .", "localhost/mine:latest"),
        ("image: org/mine:v2\n    build: .", "docker.io/org/mine:v2"),
        ("image: ghcr.io/org/mine\n    build: {context: ./x}", "ghcr.io/org/mine:latest"),
        ("image: 'ghcr.io:443/mine'\n    build: {context: ./x}", "ghcr.io:443/mine:latest"),
    ],
)
def test_an_image_that_is_built_has_a_full_name_and_a_command_that_builds_it(body: str, image: str) -> None:
    found = imported(f"name: shop\nservices:\n  a:\n    {body}\n")
    assert found.service.components[0].image == image
    (line,) = messages(found, Grade.CHANGED)
    assert f"`podman build --tag {image} " in line
    assert "`mcpctl deploy web --build`" in line
    # What it says can be done: `mcpctl build` takes the name.
    names.check_buildable(image, "web/a")


def test_a_build_is_kept_and_its_command_says_what_a_definition_cannot_and_no_password() -> None:
    found = imported(
        "services:\n  a:\n    build: {context: ./app, dockerfile: Dockerfile.prod, target: run, ssh: [default],\n"
        "      args: {V: 1, FROM_SHELL: , API_TOKEN: hunter2}, secrets: [s], labels: {a: b}, cache_from: [x],\n"
        "      additional_contexts: {lib: ./lib}}\nsecrets: {s: {file: ./s.txt}}\n",
        environment={"FROM_SHELL": "2"},
    )
    build = found.service.components[0].build
    assert build is not None
    assert (build.context, build.dockerfile, build.target) == (str(FOLDER / "app"), "Dockerfile.prod", "run")
    assert build.args == {"V": "1", "FROM_SHELL": "2", "API_TOKEN": "hunter2"}
    assert (build.secrets, build.ssh) == ((f"id=s,src={FOLDER}/s.txt",), ("default",))
    command = messages(found, Grade.CHANGED)[-1].partition("`")[2]
    assert f"--file '{FOLDER}/app/Dockerfile.prod' --target run" in command
    assert "--build-arg V=1" in command
    assert f"--label a=b --build-context 'lib={FOLDER}/lib' '{FOLDER}/app'`" in command
    assert "hunter2" not in str(found.losses)
    assert [each.path for each in found.losses if each.kind is Grade.IGNORED] == ["services.a.build.cache_from"]


# -- passwords


def test_a_password_in_the_definition_is_named_with_what_makes_it_a_secret_and_never_shown() -> None:
    body = (
        "environment: {DB_PASSWORD: hunter2, DATABASE_URL: 'postgres://u:hunter2@db/x', ALLOW_EMPTY_PASSWORD: yes,\n"
        "  POSTGRES_PASSWORD_FILE: /run/secrets/x, USER: hunter2, EMPTY_TOKEN: '', URL: 'http://x:8080/a@b'}"
    )
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    found = imported(f"services:\n  api:\n    image: x\n{lines}")
    assert [each.path for each in found.warnings] == [
        "services.api.environment.DB_PASSWORD",
        "services.api.environment.DATABASE_URL",
    ]
    message = found.warnings[0].message
    assert "`mcpctl secret set web-api-db-password --node rift`" in message
    assert '`secrets = [{ name = "web-api-db-password", env = "DB_PASSWORD" }]`' in message
    assert "hunter2" not in str(found.warnings)
    assert Secret("web-api-db-password", env="DB_PASSWORD").name in message


# -- refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {a: {}}", "services.a.image: is missing: name the image"),
        ("services: {}", "services: there are none to import"),
        ("[]", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [id]", "tag !!python/object/apply:os.system is not supported"),
        ("a: 1\na: 2", "line 2: duplicate key 'a'"),
        ('a: "\\ud800"', "line 1: half of a character"),
        ("services: {a: {image: x, depends_on: [b]}}", "services.a.depends_on.b: is not a service of this file; "
         "allowed are a"),
        ("services: {a: {image: x, depends_on: {a: {condition: odd}}}}", "'odd' is not a condition; allowed are "),
        ("services: {a: {image: x, links: [b]}}", "services.a.links[0]: 'b' is not a service of this file"),
        ("services: {a: {image: x, ports: ['1-3:1-2']}}", "ranges of different lengths"),
        ("services: {a: {image: x, ports: ['99999:1']}}", "services.a.ports[0]: '99999' is neither a port nor a range"),
        ("services: {a: {image: x, ports: [{published: 1}]}}", "services.a.ports[0].target: is missing"),
        ("services: {a: {image: x, ports: ['1:1', '1:2']}}", "services.a.ports[1]: publishes '1:2', which "
         "services.a.ports[0] already publishes"),
        ("services: {a: {image: 'A B'}}", "services.a.image: 'A B' is not an image reference"),
        ("services: {a: {image: x, mem_limit: lots}}", "'lots' is not a size"),
        ("services: {a: {image: x, stop_grace_period: soon}}", "is not a duration"),
        ("services: {a: {image: x, init: maybe}}", "services.a.init: 'maybe' is neither true nor false"),
        ('services: {a: {image: x, command: "\'"}}', "services.a.command: cannot be split into words"),
        ("services: {a: {image: [x]}}", "services.a.image: expected a string, found a list"),
        ("services: {a: [x]}", "services.a: expected a mapping, found a list"),
        ("services: {a: {image: x, restart: sometimes}}", "services.a.restart: 'sometimes' is not a restart policy"),
        ("services: {a: {image: x, pull_policy: odd}}", "services.a.pull_policy: 'odd' is not a policy; allowed are"),
        ("services: {a: {image: x, working_dir: odd}}", "services.a.working_dir: 'odd' is not an absolute path"),
        ("services: {a: {image: x, stop_signal: odd}}", "services.a.stop_signal: 'odd' is not a signal"),
        ("services: {a: {image: x, dns: odd}}", "services.a.dns[0]: 'odd': 'odd' is not an IP address"),
        ("services: {a: {image: x, volumes: ['$NONE:/b']}}", "services.a.volumes[0]: ':/b' has no source; allowed is"),
        ("services: {a: {image: x, volumes: ['a:b']}}", "services.a.volumes[0]: 'a:b' mounts at 'b'; allowed is"),
        ("services: {a: {image: x, secrets: [{source: s, mode: rw}]}}", "is not a file mode"),
        ("services: {a: {image: x, configs: [c]}}", "services.a.configs[0]: 'c' is not declared"),
        ("services: {a: {image: 'x:$TAG'}}", "variables: TAG: not set; export them"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
         "services: depends_on has a cycle"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_said(text: str, message: str) -> None:
    assert message in refused(text)


def test_every_problem_is_said_at_once() -> None:
    text = refused("services: {a: {}, b: {image: x, mem_limit: lots, depends_on: [c]}}")
    assert len(text.splitlines()) == 3
