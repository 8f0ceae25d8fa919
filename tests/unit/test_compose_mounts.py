"""Compose files: volumes, folders and files that are mounted, secrets and configs."""

import shlex

import pytest

from mcpctl.commands import app
from mcpctl.definitions.loss import Grade
from protos.parts import ConfigFile, Mount, Secret, Volume
from tests.support.compose import FOLDER, HOME, imported, messages, one, told

KIB_257 = "x" * (257 * 1024)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ("v:/v", "proj_v:/v"),
        ("v:/v:ro,z", "proj_v:/v:ro,z"),
        ("v:/v:rw", "proj_v:/v"),
        ("/var/lib/x:/x", Mount("/x", "/var/lib/x", create=True)),
        ("/etc/localtime:/etc/localtime:ro", "/etc/localtime:/etc/localtime:ro"),
        ("/etc/app:/x", Mount("/x", "/etc/app", create=True)),
        ("/dev/bus/usb:/dev/bus/usb", "/dev/bus/usb:/dev/bus/usb"),
        ("/run/x.pid:/x", "/run/x.pid:/x"),
        ("/var/run/dbus:/x", "/var/run/dbus:/x"),
        ("/srv/x.sock:/x", "/srv/x.sock:/x"),
        ("/opt/app.conf:/x", "/opt/app.conf:/x"),
        ("/:/host:ro,rslave", "/:/host:ro,rslave"),
        ("{type: bind, source: /srv, target: /x, read_only: true, bind: {propagation: rslave, selinux: z}}",
         Mount("/x", "/srv", ("ro", "rslave", "z"), create=True)),
        ("{type: bind, source: /srv, target: /x, bind: {create_host_path: false}}", "/srv:/x"),
        ("{source: /srv, target: /x}", Mount("/x", "/srv", create=True)),
        ("{type: volume, source: v, target: /v, volume: {nocopy: true}}", "proj_v:/v:nocopy"),
        ("{source: v, target: /v}", "proj_v:/v"),
    ],
)  # fmt: skip
def test_what_is_mounted_without_a_word(volume: str, expected: str | Mount) -> None:
    volume = volume if volume.startswith("{") else f"'{volume}'"
    found = imported(f"name: proj\nservices: {{a: {{image: x, volumes: [{volume}]}}}}")
    assert found.service.components[0].volumes == (expected,)
    assert [each for each in found.losses if each.path != "volumes.v"] == []


MADE = "made if missing"


@pytest.mark.parametrize(
    ("volume", "files", "mount", "said"),
    [
        ("./data:/x", {}, Mount("/x", "/srv/web/data", create=True), MADE),
        ("./data/:/x", {"data/": ""}, Mount("/x", "/srv/web/data", create=True), MADE),
        ("../files/data:/x", {}, Mount("/x", "/srv/web/files/data", create=True), MADE),
        ("~/data:/x", {}, Mount("/x", "/srv/web/data", create=True), MADE),
        ("$PWD/data:/x", {}, Mount("/x", "/srv/web/data", create=True), MADE),
        ("{type: bind, source: data, target: /x}", {}, Mount("/x", "/srv/web/data", create=True), MADE),
        # A folder with something in it.
        (".:/x", {"f": ""}, Mount("/x", "/srv/web", create=True),
         f"for each in '{FOLDER}'/*; do mcpctl push \"$each\" web --recursive; done"),
        ("./a/data:/x", {"a/data/f": ""}, Mount("/x", "/srv/web/a/data", create=True),
         f"mcpctl push '{FOLDER}/a/data' web a/ --recursive"),
        ("./data:/x", {"data/f": ""}, Mount("/x", "/srv/web/data", create=True),
         f"mcpctl push '{FOLDER}/data' web --recursive"),
        ("~/.ssh:/x:ro", {"~/.ssh/id": ""}, Mount("/x", "/srv/web/.ssh", ("ro",), create=True),
         f"mcpctl push {HOME}/.ssh web --recursive"),
        # A file that may be written to, one that is not here, and those that belong into no definition.
        ("./conf/a.ini:/x", {"conf/a.ini": "a"}, "/srv/web/conf/a.ini:/x",
         f"mcpctl push '{FOLDER}/conf/a.ini' web conf/a.ini"),
        ("./nginx.conf:/x:ro", {}, "/srv/web/nginx.conf:/x:ro", f"mcpctl push '{FOLDER}/nginx.conf' web nginx.conf"),
        ("./k.pem:/x:ro", {"k.pem": "-----BEGIN PRIVATE KEY-----"}, "/srv/web/k.pem:/x:ro",
         f"mcpctl push '{FOLDER}/k.pem' web k.pem"),
        ("./big:/x:ro", {"big": KIB_257}, "/srv/web/big:/x:ro", f"mcpctl push '{FOLDER}/big' web big"),
    ],
)  # fmt: skip
def test_what_is_on_this_machine_is_below_the_services_folder_on_the_node(
    volume: str, files: dict[str, str], mount: str | Mount, said: str
) -> None:
    volume = volume if volume.startswith("{") else f"'{volume}'"
    found = imported(f"services: {{a: {{image: x, volumes: [{volume}]}}}}", files=files)
    assert found.service.components[0].volumes == (mount,)
    (line,) = messages(found, Grade.CHANGED)
    assert line.endswith(said if said == MADE else f"`{said}`")
    if said.startswith("mcpctl "):
        words = shlex.split(said)[1:]
        app.build(words).parse_args(words, exit_on_error=False, print_error=False)


def test_two_paths_of_this_machine_are_two_on_the_node() -> None:
    found = imported("services: {a: {image: x, volumes: ['./d:/1', '../d:/2', './d:/3']}}")
    assert [each.source for each in found.service.components[0].mounts] == [
        "/srv/web/d",
        "/srv/web/d-2",
        "/srv/web/d",
    ]


def test_a_file_that_is_only_read_is_a_config_with_its_text_and_mode() -> None:
    found = imported(
        "services: {a: {image: x, volumes: ['./run.sh:/run.sh:ro']}}", files={"run.sh": "#!/bin/sh\n"}, mode=0o755
    )
    (component,) = found.service.components
    assert (component.volumes, component.configs) == ((), (ConfigFile("/run.sh", content="#!/bin/sh\n", mode=0o755),))
    assert told(found) == {"changed": ["services.a.volumes[0]"]}


def test_the_content_that_coolify_writes_is_a_config_as_it_stands() -> None:
    body = "volumes:\n- {type: bind, source: ./x, target: /x, content: 'set $host $1 ${a;'}"
    component, said = one(body)
    assert component.configs == (ConfigFile("/x", content="set $host $1 ${a;"),)
    assert said == {"changed": ["volumes[0]"]}
    component, _ = one("volumes: [{type: bind, source: ./x, target: /x, is_directory: true}]")
    assert component.volumes == (Mount("/x", "/srv/web/x", create=True),)


def test_an_anonymous_volume_gets_a_name_so_that_it_outlives_its_container() -> None:
    found = imported("name: p\nservices: {a: {image: x, volumes: [/var/lib/x, {type: volume, target: /y}]}}")
    assert found.service.components[0].volumes == ("p_a_var-lib-x:/var/lib/x", "p_a_y:/y")
    assert told(found) == {"changed": ["services.a.volumes[0]", "services.a.volumes[1]"]}


def test_a_file_system_in_memory_is_a_tmpfs() -> None:
    component, said = one("volumes: [{type: tmpfs, target: /x, tmpfs: {size: 64m, mode: 0o1777}}]\ntmpfs: /y")
    assert component.tmpfs == ("/x:size=67108864,mode=1777", "/y")
    assert said == {}


def test_of_two_things_at_one_place_the_later_one_is_mounted() -> None:
    assert one("volumes: ['/srv/a:/x', '/srv/b:/x/']")[0].volumes == (Mount("/x/", "/srv/b", create=True),)


def test_the_socket_of_docker_is_podmans_and_that_is_said() -> None:
    for source in ("/var/run/docker.sock", "//var/run/docker.sock", "/run/docker.sock"):
        component, said = one(f"volumes: ['{source}:/var/run/docker.sock:ro']")
        assert component.volumes == ("/run/podman/podman.sock:/var/run/docker.sock:ro",)
        assert said == {"changed": ["volumes[0]"], "warning": ["volumes[0]"]}


def test_dockers_volumes_are_podmans_and_that_is_said() -> None:
    component, said = one("volumes: ['/var/lib/docker/volumes:/volumes:ro']")
    assert component.volumes == (Mount("/volumes", "/var/lib/containers/storage/volumes", ("ro",), create=True),)
    assert said == {"changed": ["volumes[0]"], "warning": ["volumes[0]"]}


@pytest.mark.parametrize(
    "volume",
    [
        "'C:\\x:/x'",
        "'/a:/b:odd'",
        "'~kyle/x:/x'",
        "/var/lib/docker:/x:ro",
        "{type: image, source: x, target: /x}",
        "{type: npipe, source: x, target: /x}",
        "{type: volume, source: v, target: /v, volume: {subpath: a}}",
    ],
)
def test_what_cannot_be_mounted_is_lost(volume: str) -> None:
    said = one(f"volumes: [{volume}]")[1]["lost"]
    assert [each.removesuffix(".volume.subpath") for each in said] == ["volumes[0]"]


def test_options_of_docker_desktop_mean_nothing() -> None:
    assert one("volumes: ['/a:/b:cached,delegated']")[1] == {"ignored": ["volumes[0]", "volumes[0]"]}


def test_what_a_volume_is_made_with_is_declared() -> None:
    found = imported(
        "services: {a: {image: x, volumes: ['v:/v', 'w:/w', 'd:/d']}}\nvolumes:\n"
        "  v: {name: v, driver: local, labels: [a],\n"
        "      driver_opts: {type: nfs, o: 'addr=10.0.0.1,rw', device: ':/x', n: 1}}\n"
        "  w: {name: w, driver: rclone}\n  d: {name: d, driver_opts: {type: none, o: bind, device: ./d}}\n"
        "  unused: {driver: odd}\n"
    )
    assert found.service.volumes == {
        "v": Volume(options={"type": "nfs", "o": "addr=10.0.0.1,rw", "device": ":/x", "n": "1"}, labels={"a": ""}),
        "w": Volume(driver="rclone"),
        "d": Volume(options={"type": "none", "o": "bind", "device": "/srv/web/d"}),
    }
    assert told(found) == {"changed": ["volumes.d.driver_opts.device"], "warning": ["volumes.w.driver"]}
    assert "on the node: `mkdir -p /srv/web/d`" in messages(found, Grade.CHANGED)[0]


def test_a_volume_of_a_folder_here_is_pushed() -> None:
    text = "services: {a: {image: x, volumes: ['d:/d']}}\nvolumes: {d: {name: d, driver_opts: {device: $PWD/d}}}"
    found = imported(text, files={"d/f": ""})
    assert found.service.volumes["d"].options == {"device": "/srv/web/d"}
    assert f"`mcpctl push '{FOLDER}/d' web --recursive`" in messages(found, Grade.CHANGED)[0]


# -- secrets


def test_secrets_are_podmans_and_the_commands_make_them() -> None:
    found = imported(
        "name: p\nservices:\n  a:\n    image: x\n    secrets: [file, env, ext, {source: file, target: other},\n"
        "      {source: long, target: /etc/x, uid: '1', gid: 2, mode: 0440}]\n"
        "secrets: {file: {file: './my secret.txt'}, env: {environment: DB_PASS}, ext: {external: true},\n"
        "  long: {name: own, file: ~/x}}\n"
    )
    assert set(found.service.components[0].secrets) == {
        "ext",
        Secret("p_file", target="file"),
        Secret("p_env", target="env"),
        Secret("own", target="/etc/x", uid=1, gid=2, mode=0o440),
        Secret("p_file", target="other"),
    }
    lines = "\n".join(messages(found, Grade.CHANGED))
    assert f"`mcpctl secret set p_file --node rift --file '{FOLDER}/my secret.txt'`" in lines
    assert '`printf %s "$DB_PASS" | mcpctl secret set p_env --node rift`' in lines
    assert messages(found, Grade.LOST) == []


# -- configs


def test_configs_are_part_of_the_definition() -> None:
    found = imported(
        "services:\n  a:\n    image: x\n    configs: [text, env, {source: gone, target: g},\n"
        "      {source: file, target: /etc/f, mode: '0640', uid: '7'}]\n"
        "configs: {text: {content: 'a $$b $C '}, env: {environment: C}, gone: {file: ./sub/g.conf}, file: {file: f}}\n",
        files={"f": "text"},
        environment={"C": "c"},
    )
    assert found.service.components[0].configs == (
        ConfigFile("/text", content="a $b c "),
        ConfigFile("/env", content="c"),
        ConfigFile("/g", source="web-g.conf"),
        ConfigFile("/etc/f", content="text", mode=0o640, uid=7),
    )
    assert told(found) == {"changed": ["configs.gone", "configs.file"]}


def test_configs_of_swarm_and_such_that_are_no_text_are_lost() -> None:
    text = (
        "services: {a: {image: x, configs: [ext, big, nul]}}\n"
        "configs: {ext: {external: true}, big: {file: big}, nul: {file: nul}}"
    )
    found = imported(text, files={"big": KIB_257, "nul": "\0"})
    assert told(found)["lost"] == ["services.a.configs[0]", "configs.big", "configs.nul"]
