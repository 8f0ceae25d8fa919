"""What a person types where a file of another program cannot say it: podman's commands, quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from protos.parts import Build, NetworkDeclaration, Volume


def create_volume(name: str, volume: Volume) -> str:
    words = ["podman", "volume", "create"]
    words += ["--driver", volume.driver] if volume.driver else []
    return shlex.join([*words, *_each("--opt", volume.options), *_each("--label", volume.labels), name])


def create_network(name: str, network: NetworkDeclaration) -> str:
    words = ["podman", "network", "create"]
    words += ["--driver", network.driver] if network.driver else []
    for subnet in network.subnets:
        words += ["--subnet", subnet]
    words += ["--gateway", network.gateway] if network.gateway else []
    words += ["--internal"] if network.internal else []
    words += ["--ipv6"] if network.ipv6 else []
    return shlex.join([*words, *_each("--opt", network.options), *_each("--label", network.labels), name])


def build_image(image: str, build: Build) -> str:
    words = ["podman", "build", "--tag", image]
    words += ["--file", build.dockerfile] if build.dockerfile else []
    words += ["--target", build.target] if build.target else []
    words += _each("--build-arg", build.args)
    for option, said in (("--secret", build.secrets), ("--ssh", build.ssh)):
        for each in said:
            words += [option, each]
    return shlex.join([*words, build.context])


def _each(option: str, table: Mapping[str, str]) -> Iterator[str]:
    for name, text in table.items():
        yield option
        yield f"{name}={text}"
