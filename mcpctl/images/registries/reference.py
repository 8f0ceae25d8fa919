"""The parts of an image reference: which registry has it, as what, and which of it is meant."""

from __future__ import annotations

import ipaddress

import msgspec

from protos import naming

# What a reference without a registry means (the distribution project's reference package), and who answers for it.
_DOCKER, _DOCKER_OWN = "docker.io", "library"
_ALSO_DOCKER = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_HOST = "registry-1.docker.io"
# Where podman puts what was built on the machine itself; no registry.
_LOCAL = "localhost"
_DEFAULT_TAG = "latest"


class Reference(msgspec.Struct, frozen=True):
    """``registry/repository:tag@digest``. ``registry``: HOST[:PORT]. ``tag`` or ``digest`` may be empty, not both."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def is_local(self) -> bool:
        """Whether no registry can be asked: it was built, or loaded, where it is used."""
        return self.registry == _LOCAL

    @property
    def is_pinned(self) -> bool:
        """Whether it means one image for ever."""
        return bool(self.digest)

    @property
    def name(self) -> str:
        """``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def host(self) -> str:
        """Who is asked over HTTP: HOST[:PORT]."""
        return _DOCKER_HOST if self.registry == _DOCKER else self.registry

    def with_tag(self, tag: str) -> Reference:
        """The same repository's ``tag``."""
        return msgspec.structs.replace(self, tag=tag, digest="")

    def __str__(self) -> str:
        """As podman writes it, whole."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """``nginx`` is ``docker.io/library/nginx:latest``. Raises ValueError for what is no image reference."""
    if not naming.is_image_reference(text):
        raise ValueError(f"{text!r} is not an image reference: [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]")
    rest, _, digest = text.partition("@")
    first, slash, path = rest.partition("/")
    if slash and _is_registry(first):
        registry, rest = (_DOCKER if first in _ALSO_DOCKER else first), path
    else:
        registry = _DOCKER
    repository, _, tag = rest.partition(":")
    if registry == _DOCKER and "/" not in repository:
        repository = f"{_DOCKER_OWN}/{repository}"
    return Reference(registry, repository, tag or ("" if digest else _DEFAULT_TAG), digest)


def _is_registry(first: str) -> bool:
    """The rule of the reference package: a dot, a port, ``localhost``, or letters that only a host may have."""
    return first == _LOCAL or first != first.lower() or any(each in first for each in ".:")


def is_loopback(host: str) -> bool:
    """Whether HOST[:PORT] is this machine itself, whatever the network says: ``localhost``, 127.0.0.0/8, ::1."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == _LOCAL:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
