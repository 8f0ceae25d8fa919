"""A container and an image as podman describes each when asked about it alone: what `mcpd.runtime.describe` reads.

Only what tells how a container was made. podman leaves out, or sets to null, what is empty; the names are podman's
(podman-inspect(1), podman-image-inspect(1)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

SIGTERM = 15


class Binding(msgspec.Struct, frozen=True, rename="pascal"):
    host_ip: str = ""
    host_port: str = ""


class Policy(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class Probe(msgspec.Struct, frozen=True, rename="pascal"):
    """Times in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0


class Secret(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    mode: int = 0
    uid: int = msgspec.field(name="UID", default=0)
    gid: int = msgspec.field(name="GID", default=0)


class Config(msgspec.Struct, frozen=True, rename="pascal"):
    hostname: str = ""
    user: str = ""
    tty: bool = False
    open_stdin: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str = ""
    # podman 4 joins the words by spaces.
    entrypoint: list[str] | str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    # podman 5 says a name.
    stop_signal: int | str = SIGTERM
    healthcheck: Probe | None = None
    create_command: list[str] | None = None
    secrets: list[Secret] | None = None
    timeout: int = 0
    stop_timeout: int = 10


class LogConfig(msgspec.Struct, frozen=True, rename="pascal"):
    type: str = ""
    path: str = ""


class Host(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""
    log_config: LogConfig = LogConfig()
    port_bindings: Mapping[str, list[Binding] | None] | None = None
    restart_policy: Policy = Policy()
    auto_remove: bool = False
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    dns: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    tmpfs: Mapping[str, str] | None = None
    userns_mode: str = ""
    cpu_shares: int = 0
    memory: int = 0
    memory_reservation: int = 0
    nano_cpus: int = 0
    cpuset_cpus: str = ""
    devices: list[Any] | None = None
    oom_score_adj: int = 0
    pids_limit: int = 0


class Mount(msgspec.Struct, frozen=True, rename="pascal"):
    type: str
    destination: str
    name: str = ""
    source: str = ""
    options: list[str] | None = None
    rw: bool = msgspec.field(name="RW", default=True)
    propagation: str = ""


class Networks(msgspec.Struct, frozen=True, rename="pascal"):
    networks: Mapping[str, Any] | None = None


class Details(msgspec.Struct, frozen=True, rename="pascal"):
    """A container, as podman describes it when asked about it alone."""

    id: str
    name: str
    image: str
    image_name: str
    path: str
    args: list[str] | None
    config: Config
    host_config: Host
    mounts: list[Mount] | None = None
    network_settings: Networks = Networks()
    dependencies: list[str] | None = None
    is_infra: bool = False
    pod: str = ""

    @property
    def asked(self) -> tuple[str, ...]:
        """The words of the command that made it, up to the image; empty when it was made otherwise."""
        words = self.config.create_command or []
        for index, word in enumerate(words):
            if word in (self.image_name, self.image) or self.image_name.endswith((f"/{word}", f"/{word}:latest")):
                return tuple(words[:index])
        return tuple(words)


class ImageConfig(msgspec.Struct, frozen=True, rename="pascal"):
    env: list[str] | None = None
    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] | None = None
    stop_signal: str = ""


class ImageDefaults(msgspec.Struct, frozen=True, rename="pascal"):
    """What an image sets for its containers."""

    config: ImageConfig = ImageConfig()
    user: str = ""
    repo_tags: list[str] | None = None
