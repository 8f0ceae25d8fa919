"""Names: the rule for them, the names of containers, and the version in an image reference."""

from __future__ import annotations

import re
from collections.abc import Collection

NAME_RULE = "lower-case letters, digits and inner hyphens, 63 characters at most"

# A DNS label (RFC 1123), so that a name can become a host name in a podman network.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

# podman-run(1), --network: modes, and the name of its default network.
_TAKEN_BY_PODMAN = frozenset(
    {"bridge", "container", "default", "host", "none", "ns", "pasta", "podman", "private", "slirp4netns"}
)

# The grammar of the distribution project's reference package, which podman follows.
_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:\[[0-9a-fA-F:]+\]|{_HOST_PART}(?:\.{_HOST_PART})*)(?::[0-9]{{1,5}})?"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,}))?"
)
# A longer name is refused by registries; 255 is the reference package's own limit.
_MAX_REFERENCE_NAME = 255

# What references begin with of images that were built or loaded where they are, and that no registry has.
LOCAL = "localhost/"
# As many hexadecimal digits as `podman images` shows.
_SHORT_DIGEST = 12


def is_name(text: str) -> bool:
    """Whether ``text`` can name a node, a service or a component."""
    return _NAME.fullmatch(text) is not None


def container_name(service: str, component: str, components: Collection[str]) -> str:
    """The container's name for one of a service's ``components``.

    ``<service>-<component>``; just ``<service>`` when the only component has the service's name (audit E4).
    """
    if component == service and len(components) == 1:
        return service
    return f"{service}-{component}"


def own_network(service: str) -> str:
    """The podman network of a service's own: called like the service, unless that word means something to podman."""
    return f"{service}-net" if service in _TAKEN_BY_PODMAN else service


def is_image_reference(text: str) -> bool:
    """Whether ``text`` is ``[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]``."""
    match = _REFERENCE.fullmatch(text)
    return match is not None and len(match["name"]) <= _MAX_REFERENCE_NAME


def repository_of(name: str) -> str:
    """A reference without its tag and digest; a registry's port stays."""
    folder, slash, last = name.partition("@")[0].rpartition("/")
    return folder + slash + last.partition(":")[0]


def without_tag(reference: str) -> str:
    """The repository with its digest, if there is one."""
    _, at, digest = reference.partition("@")
    return repository_of(reference) + at + digest


def version(reference: str) -> str:
    """The version that an image reference says (audit E6).

    The tag after the last ``/``, so that a registry's port is not taken for one; a digest reference says its
    short digest (``sha256:`` and 12 digits); no tag says ``latest``.
    """
    name, _, digest = reference.partition("@")
    if digest:
        algorithm, _, digits = digest.partition(":")
        return f"{algorithm}:{digits[:_SHORT_DIGEST]}"
    _, _, tag = name.rpartition("/")[2].partition(":")
    return tag or "latest"


def split_target(text: str) -> tuple[str, str]:
    """``SERVICE[/COMPONENT]`` as (service, component or ""). Raises ValueError on anything else."""
    service, slash, component = text.partition("/")
    if not is_name(service) or (slash and not is_name(component)):
        raise ValueError(f"{text!r} is not SERVICE or SERVICE/COMPONENT; each is {NAME_RULE}")
    return service, component
