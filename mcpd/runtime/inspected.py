"""podman's inspection of one container or image, as types that `mcpd.runtime.describe` reads.

Only what tells how a container was made. podman leaves out, or sets to null, what is empty; the names are podman's
(podman-inspect(1), podman-image-inspect(1)).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mcpd.runtime.healthcheck import Probe
from mcpd.runtime.original_command import CreateCommand, parse

SIGTERM = 15


class Binding(msgspec.Struct, frozen=True, rename="pascal"):
    host_ip: str = ""
    host_port: str = ""


class Policy(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


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
    # podman 4 joins the words with spaces.
    entrypoint: list[str] | str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    # podman 5 gives a name.
    stop_signal: int | str = SIGTERM
    healthcheck: Probe | None = None
    create_command: list[str] | None = None
    secrets: list[Secret] | None = None
    timeout: int = 0
    stop_timeout: int = 10
    umask: str = ""
    timezone: str = ""
    systemd_mode: bool = False
    chroot_dirs: list[str] | None = None
    healthcheck_on_failure_action: str = ""
    startup_healthcheck: Probe | None = msgspec.field(name="StartupHealthCheck", default=None)


class LogConfig(msgspec.Struct, frozen=True, rename="pascal"):
    type: str = ""
    path: str = ""
    tag: str = ""
    size: str = ""


class Device(msgspec.Struct, frozen=True, rename="pascal"):
    path_on_host: str = ""
    path_in_container: str = ""
    # Empty for what was made with all of them, and in podman 4.
    cgroup_permissions: str = ""


class Rate(msgspec.Struct, frozen=True, rename="pascal"):
    """Of a block device: bytes or operations a second, or a weight."""

    path: str = ""
    rate: int = 0
    weight: int = 0


class Ulimit(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    soft: int = 0
    hard: int = 0


class Host(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""
    log_config: LogConfig = LogConfig()
    port_bindings: Mapping[str, list[Binding] | None] | None = None
    restart_policy: Policy = Policy()
    auto_remove: bool = False
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: str = msgspec.field(name="UTSMode", default="")
    cgroup_parent: str = ""
    init: bool = False
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    tmpfs: Mapping[str, str] | None = None
    userns_mode: str = ""
    shm_size: int = 0
    ulimits: list[Ulimit] | None = None
    volumes_from: list[str] | None = None
    cpu_shares: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    # -1 or 0: the kernel's own.
    memory_swappiness: int = 0
    oom_kill_disable: bool = False
    nano_cpus: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[Device] | None = None
    blkio_weight: int = 0
    blkio_weight_device: list[Rate] | None = None
    blkio_device_read_bps: list[Rate] | None = None
    blkio_device_write_bps: list[Rate] | None = None
    blkio_device_read_iops: list[Rate] | None = msgspec.field(name="BlkioDeviceReadIOps", default=None)
    blkio_device_write_iops: list[Rate] | None = msgspec.field(name="BlkioDeviceWriteIOps", default=None)
    oom_score_adj: int = 0
    pids_limit: int = 0


class Mount(msgspec.Struct, frozen=True, rename="pascal"):
    type: str
    destination: str
    name: str = ""
    source: str = ""
    # podman's word for the relabelling options, z and Z.
    mode: str = ""
    options: list[str] | None = None
    rw: bool = msgspec.field(name="RW", default=True)
    propagation: str = ""
    sub_path: str = ""


class Joined(msgspec.Struct, frozen=True, rename="pascal"):
    """How a container is attached to a network."""

    aliases: list[str] | None = None


class Networks(msgspec.Struct, frozen=True, rename="pascal"):
    networks: Mapping[str, Joined] | None = None


class Details(msgspec.Struct, frozen=True, rename="pascal"):
    """A container, as `podman inspect` describes it."""

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
    rootfs: str = ""

    @property
    def command(self) -> CreateCommand:
        return parse(self.config.create_command, (self.image_name, self.image))

    @property
    def has_init(self) -> bool:
        """Whether podman's own init runs the program."""
        return self.host_config.init or (self.config.annotations or {}).get("io.podman.annotations.init") == "TRUE"

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that the container runs, without podman's init (``/run/podman-init -- PROGRAM``)."""
        words = tuple(self.args or ())
        if self.has_init and "--" in words[:1]:
            return words[1:]
        # podman lists a program without arguments as its only argument.
        return (self.path,) if words == (self.path,) else (self.path, *words)


class ImageConfig(msgspec.Struct, frozen=True, rename="pascal"):
    env: list[str] | None = None
    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] | None = None
    stop_signal: str = ""
    volumes: Mapping[str, object] | None = None


class ImageDefaults(msgspec.Struct, frozen=True, rename="pascal"):
    """What an image sets for its containers."""

    config: ImageConfig = ImageConfig()
    user: str = ""
    healthcheck: Probe | None = None
    repo_tags: list[str] | None = None
