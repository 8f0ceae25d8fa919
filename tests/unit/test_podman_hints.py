"""What is said about podman's errors, in podman's own words as they were seen."""

from __future__ import annotations

import getpass

import pytest

from mcpd.changes import podman_hints
from tests.support.builders import component

IMAGE = "registry.example.net:5000/app:v1"


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            "reading manifest v1: unauthorized: authentication required",
            "`podman login registry.example.net:5000`",
        ),
        (
            "reading manifest v9: manifest unknown",
            f"the image registry has no {IMAGE}: check the name; `mcpctl image push web/api` brings it",
        ),
        ("writing blob: write /var/tmp/x: no space left on device", "`podman system df`"),
        (
            "dial tcp 10.0.0.1:5000: connect: connection refused",
            "registry.example.net:5000 cannot be reached",
        ),
        ("x509: certificate signed by unknown authority", "/etc/containers/certs.d/registry.example.net:5000/"),
    ],
)
def test_a_pull_that_fails_says_what_mends_it(words: str, remedy: str) -> None:
    said = podman_hints.about_pull("web", component(image=IMAGE), words)
    assert said.startswith(words)
    assert remedy in said


def test_the_login_is_the_daemons_users() -> None:
    assert f"as user {getpass.getuser()} on the node" in podman_hints.about_pull(
        "web", component(image="app:v1"), "unauthorized"
    )
    assert "podman login docker.io" in podman_hints.about_pull("web", component(image="app:v1"), "unauthorized")


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("cannot listen on the TCP port: listen tcp4 127.0.0.1:80: bind: address already in use", "`ss -lntup`"),
        ("statfs /srv/{odd} name: no such file or directory", "statfs"),
        ("statfs /srv/web: no such file or directory", "/srv/web does not exist on the node"),
        (
            'exec: "/bin/nope": stat /bin/nope: no such file or directory: OCI runtime attempted to invoke a command',
            f"{IMAGE} has no such program: check `entrypoint` and `cmd`",
        ),
        ('exec: "/etc": permission denied: OCI permission denied', "check `entrypoint` and `cmd`"),
        (
            "unable to find user nobodyy: no matching entries in passwd file",
            f"{IMAGE} has no such user or group: check `user`",
        ),
        ('exec: "nope": executable file `nope` not found in $PATH', f"{IMAGE} has no such program"),
    ],
)
def test_a_step_that_fails_says_what_mends_it(words: str, remedy: str) -> None:
    assert remedy in podman_hints.about_step(IMAGE, words)


def test_what_nobody_knows_anything_about_is_told_as_it_is() -> None:
    assert podman_hints.about_pull("web", component(image=IMAGE), "the moon is in the way") == "the moon is in the way"
    assert podman_hints.about_step(IMAGE, "manifest unknown") == "manifest unknown"
