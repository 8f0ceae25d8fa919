"""What containers use, as cgroups of both versions say it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from mcpd.rpc import convert
from mcpd.runtime import usage
from mcpd.runtime.usage import Mount, Usage
from mcpd.status.components import ComponentView
from monitor.model import Observed
from protos.mcp import v1

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ID = "4f" * 32
V2_MOUNTS = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
V1_MOUNTS = """\
24 18 0:21 / /proc rw shared:5 - proc proc rw
30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 29 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 29 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V1_CGROUP = f"""\
5:cpu,cpuacct:/libpod_parent/libpod-{ID}
4:memory:/libpod_parent/libpod-{ID}
3:pids:/libpod_parent/libpod-{ID}
1:name=systemd:/libpod_parent/libpod-{ID}
0::/libpod_parent/libpod-{ID}
"""


def measured(mounts: str, cgroup: str, files: Mapping[str, str]) -> Usage | None:
    folders = usage.folders_of(cgroup, ID, usage.mounts_of(mounts))
    return usage.usage_in(folders, files.__getitem__, AT)


def test_version_2() -> None:
    folder = f"/sys/fs/cgroup/machine.slice/libpod-{ID}.scope"
    files = {
        f"{folder}/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
        f"{folder}/memory.current": "1048576\n",
        f"{folder}/memory.max": "67108864\n",
        f"{folder}/pids.current": "3\n",
    }
    # crun runs what is in the container one level further down.
    found = measured(V2_MOUNTS, f"0::/machine.slice/libpod-{ID}.scope/container\n", files)
    assert found == Usage(AT, timedelta(seconds=2.5), 1 << 20, 64 << 20, 3)


def test_version_1_also_beside_version_2() -> None:
    parent = f"libpod_parent/libpod-{ID}"
    files = {
        f"/sys/fs/cgroup/cpu,cpuacct/{parent}/cpuacct.usage": "2500000000\n",
        f"/sys/fs/cgroup/memory/{parent}/memory.usage_in_bytes": "1048576\n",
        f"/sys/fs/cgroup/memory/{parent}/memory.limit_in_bytes": "9223372036854771712\n",
        f"/sys/fs/cgroup/pids/{parent}/pids.current": "3\n",
    }
    assert measured(V1_MOUNTS, V1_CGROUP, files) == Usage(AT, timedelta(seconds=2.5), 1 << 20, 0, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max\n", 0), ("67108864\n", 64 << 20), ("9223372036854771712\n", 0), ("9223372036854710272\n", 0), ("0\n", 0)],
)
def test_a_limit_that_is_none_is_0(text: str, expected: int) -> None:
    assert usage.limit(text) == expected


def test_a_process_outside_a_cgroup_of_the_containers_own_has_no_usage() -> None:
    assert measured(V2_MOUNTS, "0::/user.slice/session-1.scope\n", {}) is None
    assert measured(V2_MOUNTS, f"0::/machine.slice/libpod-{'5e' * 32}.scope\n", {}) is None


def test_where_a_part_of_the_hierarchy_is_mounted_paths_begin_there() -> None:
    mounts = usage.mounts_of("31 23 0:27 /docker/one /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n")
    assert mounts == {"": Mount("/sys/fs/cg roup", "/docker/one")}
    assert usage.folders_of(f"0::/docker/one/libpod-{ID}\n", ID, mounts) == {"": f"/sys/fs/cg roup/libpod-{ID}"}
    assert usage.folders_of(f"0::/docker/two/libpod-{ID}\n", ID, mounts) == {}


def test_it_is_told_of_what_runs_and_of_nothing_else() -> None:
    view = ComponentView("web", "api", None, None, Observed.RUNNING, AT)
    found = Usage(AT, timedelta(seconds=2.5), 1 << 20, 64 << 20, 3)
    told = v1.ComponentInfo().parse(bytes(convert.component_info(view, found)))
    assert told.usage == v1.Usage(timedelta(seconds=2.5), 1 << 20, 64 << 20, 3, AT)
    assert "usage" not in convert.component_info(view).to_dict()


def test_files_that_are_gone_or_say_nothing_are_no_usage() -> None:
    with pytest.raises(ValueError, match="usage_usec"):
        usage.cpu_time("user_usec 1\n")
    pid = os.getpid()
    # A process without a container, one that cannot be, and a container that does not run.
    assert usage.measure({ID: pid, "5e" * 32: 2**30, "6d" * 32: 0}) == {}
