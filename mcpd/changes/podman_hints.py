"""Hints for podman's errors: podman says what is wrong, and seldom how to fix it."""

from __future__ import annotations

import getpass
import re

from protos.spec import Component

# podman's words (and those of the libraries below it), and what to do then; of several the first one counts.
_DISK_FULL = (
    "no space left on device|disk quota exceeded",
    "the node's disk is full where podman keeps its storage: `podman system df` there shows what uses it",
)
_AT_PULL = (
    (
        "unauthorized|authentication required|access to the resource is denied|invalid username/password",
        "the image registry refuses this login: `podman login {registry}` as user {user} on the node",
    ),
    (
        "manifest unknown|name unknown|repository name not known",
        "the image registry has no {image}: check the name; {bringing}",
    ),
    _DISK_FULL,
    (
        "connection refused|no such host|i/o timeout|no route to host|network is unreachable|deadline exceeded",
        "the image registry {registry} cannot be reached from the node",
    ),
    (
        "x509|server gave HTTP response to HTTPS client",
        "the node does not trust {registry}: put its CA below /etc/containers/certs.d/{registry}/",
    ),
)
_AT_PUSH = (
    _DISK_FULL,
    (
        "connection refused|i/o timeout|no route to host|network is unreachable",
        "the node's podman cannot reach mcpd's loopback address: both must be in one network namespace",
    ),
    (
        "is rejected by policy",
        "the signature policy of the node's podman, /etc/containers/policy.json, must accept images of 127.0.0.1, "
        "where mcpd hands them over",
    ),
)
_AT_A_STEP = (
    ("address already in use", "another process on the node has that port: `ss -lntup` there shows which"),
    # Before the paths that are missing on the node: this one is missing in the image.
    (
        r'exec: "?[^"]+"?: .*(?:no such file or directory|not found)|executable file .*not found',
        "{image} has no such program: check `entrypoint` and `cmd`",
    ),
    ('exec: "[^"]+": .*permission denied', "that program is not executable in {image}: check `entrypoint` and `cmd`"),
    (
        "unable to find (?:user|group) |no matching entries in (?:passwd|group) file",
        "{image} has no such user or group: check `user`",
    ),
    ('workdir "(?P<path>[^"]+)" does not exist', "{image} has no folder {path}: check `workdir`"),
    (r"stat(?:fs)? (?P<path>[^\s:]+): no such file or directory", "{path} does not exist on the node: create it there"),
    ("no such secret|no secret with name or id", "`mcpctl secret set NAME --node NODE` creates one"),
    _DISK_FULL,
)


def about_pull(service: str, component: Component, words: str) -> str:
    """``words`` of a pull of the component's image that failed, with what to do."""
    return _hinted(component.image, words, _AT_PULL, bringing(service, component))


def bringing(service: str, component: Component) -> str:
    """Which commands bring an image that neither the node nor a registry has."""
    name = f"{service}/{component.name}"
    if component.build is None:
        push = ", or push it to the registry" if component.is_pulled else ""
        return f"`mcpctl image push {name}` brings it from your machine{push}"
    if component.is_pulled:
        return f"`mcpctl build {name} --push` builds and pushes it, `mcpctl deploy {name} --build` also deploys it"
    return f"`mcpctl deploy {name} --build` builds and brings it, `mcpctl image push {name}` brings it when it is built"


def about_push(words: str) -> str:
    """``words`` of a push that failed, with what to do."""
    return _hinted("", words, _AT_PUSH)


def about_step(image: str, words: str) -> str:
    """``words`` about a container of ``image`` that could not be made, started or stopped, with what to do."""
    return _hinted(image, words, _AT_A_STEP)


def _hinted(image: str, words: str, hints: tuple[tuple[str, str], ...], bringing: str = "") -> str:
    for pattern, remedy in hints:
        if found := re.search(pattern, words, re.IGNORECASE):
            facts = {"image": image, "registry": _registry(image), "user": getpass.getuser(), "bringing": bringing}
            return f"{words} ({remedy.format(**facts, **found.groupdict())})"
    return words


def _registry(image: str) -> str:
    """The registry that a reference names; podman asks Docker's when it names none."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first) else "docker.io"
