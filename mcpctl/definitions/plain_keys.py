"""What the keys of a component are called in other notations, where the value is written alike.

Keys that need more than another name are in `exporting` and `importing` themselves.
"""

from __future__ import annotations

from typing import NamedTuple


class PlainKey(NamedTuple):
    """``compose`` and ``quadlet`` "": that notation has no word for it. ``option`` is podman-run(1)'s."""

    key: str
    compose: str
    quadlet: str
    option: str


PLAIN_KEYS: tuple[PlainKey, ...] = (
    PlainKey("platform", "platform", "", "--platform"),
    PlainKey("workdir", "working_dir", "WorkingDir", "--workdir"),
    PlainKey("hostname", "hostname", "HostName", "--hostname"),
    PlainKey("group_add", "group_add", "GroupAdd", "--group-add"),
    PlainKey("add_hosts", "extra_hosts", "AddHost", "--add-host"),
    PlainKey("dns", "dns", "DNS", "--dns"),
    PlainKey("dns_search", "dns_search", "DNSSearch", "--dns-search"),
    PlainKey("dns_options", "dns_opt", "DNSOption", "--dns-option"),
    PlainKey("tmpfs", "tmpfs", "Tmpfs", "--tmpfs"),
    PlainKey("read_only", "read_only", "ReadOnly", "--read-only"),
    PlainKey("shm_size", "shm_size", "ShmSize", "--shm-size"),
    PlainKey("devices", "devices", "AddDevice", "--device"),
    PlainKey("init", "init", "RunInit", "--init"),
    PlainKey("tty", "tty", "", "--tty"),
    PlainKey("interactive", "stdin_open", "", "--interactive"),
    PlainKey("stop_signal", "stop_signal", "StopSignal", "--stop-signal"),
    PlainKey("labels", "labels", "Label", "--label"),
    PlainKey("annotations", "annotations", "Annotation", "--annotation"),
    PlainKey("userns", "userns_mode", "UserNS", "--userns"),
    PlainKey("pid", "pid", "", "--pid"),
    PlainKey("ipc", "ipc", "", "--ipc"),
    PlainKey("cap_add", "cap_add", "AddCapability", "--cap-add"),
    PlainKey("cap_drop", "cap_drop", "DropCapability", "--cap-drop"),
    PlainKey("privileged", "privileged", "", "--privileged"),
    PlainKey("security_opt", "security_opt", "", "--security-opt"),
    PlainKey("ulimits", "ulimits", "Ulimit", "--ulimit"),
    PlainKey("sysctls", "sysctls", "Sysctl", "--sysctl"),
)
