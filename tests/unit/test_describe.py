"""What an inspection of a container comes to as a declaration: what podman and the image add is taken off."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mcpd.runtime.describe import Description, describe
from mcpd.runtime.inspected import Details, ImageDefaults
from protos.spec import Component, Health, Resources

ID = "0123456789abcdef" * 4


def described(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
    **more: Any,
) -> Description:
    """A container of which only these things are not as podman makes them by itself."""
    plain = {
        "Id": ID,
        "Name": "web-x",
        "Image": "ab" * 32,
        "ImageName": "localhost/app:v1",
        "Path": "/bin/app",
        "Args": ["/bin/app"],
        "Config": {
            "Hostname": ID[:12],
            "Env": ["PATH=/bin", "TERM=xterm", "container=podman", "HOME=/root", f"HOSTNAME={ID[:12]}"],
            "Cmd": ["/bin/app"],
            "Entrypoint": "",
            "CreateCommand": ["podman", "run", "-d", "localhost/app:v1"],
            **(config or {}),
        },
        "HostConfig": {"NetworkMode": "bridge", "PidsLimit": 2048, **(host or {})},
        "NetworkSettings": {"Networks": {"podman": {}}},
        **more,
    }
    details = msgspec.convert(plain, type=Details)
    defaults = msgspec.convert(image or {"Config": {"Cmd": ["/bin/app"]}}, type=ImageDefaults)
    return describe("x", details, defaults)


def test_of_a_plain_container_only_the_image_is_left() -> None:
    assert described() == Description(Component("x", "localhost/app:v1"), ())


@pytest.mark.parametrize(
    ("config", "image", "expected"),
    [
        # podman 4 joins an entry point's words, podman 5 lists them.
        ({"Entrypoint": "/init --fast", "Cmd": ["a"]}, {"Entrypoint": ["/init", "--fast"], "Cmd": ["b"]}, ("a",)),
        ({"Entrypoint": ["/init"], "Cmd": ["b"]}, {"Entrypoint": ["/init"], "Cmd": ["b"]}, ()),
        ({"Cmd": ["sleep", "9"]}, {"Cmd": ["/bin/app"]}, ("sleep", "9")),
    ],
)
def test_the_command_is_what_differs_from_the_image(
    config: dict[str, Any], image: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = described(config, image={"Config": image})
    assert (found.component.cmd, found.losses) == (expected, ())


def test_an_entry_point_that_the_image_has_not_is_the_head_of_the_command() -> None:
    more = {"Path": "/bin/sh", "Args": ["-c", "sleep 9"]}
    found = described({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 9"]}, **more)
    assert found.component.cmd == ("/bin/sh", "-c", "sleep 9")


def test_another_entry_point_than_the_images_cannot_be_said() -> None:
    found = described({"Entrypoint": ["/other"], "Cmd": ["a"]}, image={"Config": {"Entrypoint": ["/init"]}})
    assert any(each.startswith("--entrypoint") for each in found.losses)


def test_the_environment_is_what_somebody_asked_for() -> None:
    env = ["A=1", "B=x=y", "FROM=image", "PATH=/bin", "HOME=/data", "TERM=xterm"]
    asked = ["podman", "run", "-e", "A=1", "--env=HOME=/data", "localhost/app:v1", "-e", "TERM=no"]
    found = described(
        {"Env": env, "CreateCommand": asked}, image={"Config": {"Env": ["FROM=image"], "Cmd": ["/bin/app"]}}
    )
    assert found.component.env == {"A": "1", "B": "x=y", "HOME": "/data"}


def test_ports_with_addresses_protocols_and_ranges() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": "5353"}],
        "9/sctp": [{"HostIp": "", "HostPort": "9"}],
        "70/tcp": None,
    }
    found = described(host={"PortBindings": bindings})
    assert found.component.ports == ("127.0.0.1:8080:80", "[::1]:8080:80", "5353:53/udp")
    assert any("9:9/sctp" in each for each in found.losses)


def test_mounts_with_what_was_asked_and_without_what_podman_adds() -> None:
    mounts = [
        {"Type": "bind", "Source": "/srv/x", "Destination": "/x", "Options": ["rbind"], "RW": False},
        {
            "Type": "bind",
            "Source": "/srv/y",
            "Destination": "/y",
            "Options": ["noexec", "rbind"],
            "Propagation": "rslave",
        },
        {"Type": "volume", "Name": "data", "Destination": "/d", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "volume", "Name": "c" * 64, "Destination": "/a", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "bind", "Source": "/od:d", "Destination": "/o"},
        {"Type": "image", "Source": "/i", "Destination": "/i"},
    ]
    asked = ["podman", "run", "-v", "/srv/x:/x:ro,z", "--volume=data:/d:U", "localhost/app:v1"]
    found = described({"CreateCommand": asked}, Mounts=mounts)
    assert found.component.volumes == ("/srv/x:/x:ro,z", "/srv/y:/y:noexec,rslave", "data:/d:U", "c" * 64 + ":/a")
    losses = "\n".join(found.losses)
    assert "/od:d" in losses
    assert "of type image at /i" in losses
    assert "anonymous volume at /a" in losses


@pytest.mark.parametrize(
    ("mode", "networks", "asked", "expected"),
    [
        ("bridge", {"podman": {}}, (), None),
        ("bridge", {"default-of-this-machine": {}}, (), None),
        ("bridge", {"mine": {}}, ("--network", "mine"), "mine"),
        ("bridge", {"mine": {}}, ("--net=mine",), "mine"),
        ("host", {}, (), "host"),
        ("none", {}, (), "none"),
        ("slirp4netns", {}, (), None),
        ("pasta", None, (), None),
    ],
)
def test_the_network(mode: str, networks: dict[str, Any] | None, asked: tuple[str, ...], expected: str | None) -> None:
    command = ["podman", "run", *asked, "localhost/app:v1"]
    found = described({"CreateCommand": command}, {"NetworkMode": mode}, NetworkSettings={"Networks": networks})
    assert (found.component.network, found.losses) == (expected, ())


def test_a_second_network_and_another_containers_cannot_be_said() -> None:
    two = described({"CreateCommand": None}, NetworkSettings={"Networks": {"a": {}, "b": {}}})
    assert (two.component.network, two.losses) == ("a", ("--network b",))
    assert described(host={"NetworkMode": "container:1234"}).losses == ("--network container:1234",)


def test_limits_and_podmans_own_limit_of_processes() -> None:
    limited = {"Memory": 1 << 20, "NanoCpus": 500_000_000, "PidsLimit": 9}
    assert described(host=limited).component.resources == Resources(1 << 20, 0.5, 9)
    assert described(host={"PidsLimit": 2048}).component.resources == Resources()
    assert described(host={"PidsLimit": -1, "Memory": 0}).component.resources == Resources()


def test_a_health_check_becomes_a_probe() -> None:
    probe = {"Test": ["CMD-SHELL", "true || false"], "Interval": 10_000_000_000, "Timeout": 0, "Retries": 5}
    expected = Health(cmd=("/bin/sh", "-c", "true || false"), interval=timedelta(seconds=10), retries=5)
    assert described({"Healthcheck": probe}).component.health == expected
    assert described({"Healthcheck": {"Test": ["CMD", "a", "b"]}}).component.health == Health(cmd=("a", "b"))
    assert described({"Healthcheck": {"Test": ["NONE"]}}).component.health is None


def test_an_image_that_was_named_by_nothing_is_named_by_its_tag_or_its_id() -> None:
    tagged = described(image={"RepoTags": ["localhost/app:v2"], "Config": {"Cmd": ["/bin/app"]}}, ImageName="")
    assert tagged.component.image == "localhost/app:v2"
    assert described(ImageName="").component.image == "ab" * 32


@pytest.mark.parametrize(
    ("config", "host", "loss"),
    [
        ({}, {"Privileged": True, "CapAdd": ["ALL"]}, "--privileged"),
        ({}, {"CapAdd": ["CAP_NET_ADMIN"]}, "--cap-add CAP_NET_ADMIN"),
        ({}, {"ReadonlyRootfs": True}, "--read-only"),
        ({}, {"Tmpfs": {"/t": "rw"}}, "--tmpfs /t"),
        ({}, {"AutoRemove": True}, "--rm (it goes when it ends)"),
        ({}, {"PidMode": "host"}, "--pid host"),
        ({"Hostname": "hh"}, {}, "--hostname hh"),
        ({"StopSignal": 3}, {}, "--stop-signal 3"),
        ({"StopSignal": "SIGQUIT"}, {}, "--stop-signal SIGQUIT"),
        ({"Labels": {"a\n": "b"}}, {}, "--label, 1 of them: a?"),
        ({"CreateCommand": ["podman", "run", "--sysctl=a=b", "localhost/app:v1"]}, {}, "--sysctl"),
        ({"Env": [" odd =1"]}, {}, "an environment variable: ' odd ' is not the name of an environment variable"),
        ({"User": "a b"}, {}, "--user: 'a b' is not a user: USER[:GROUP], names or numbers"),
    ],
)
def test_what_a_definition_cannot_say_is_named(config: dict[str, Any], host: dict[str, Any], loss: str) -> None:
    assert described(config, host).losses == (loss,)


def test_labels_of_the_image_are_nobodys_loss() -> None:
    image = {"Config": {"Cmd": ["/bin/app"], "Labels": {"a": "b"}}}
    assert described({"Labels": {"a": "b"}}, image=image).losses == ()
