"""mcpd under systemd, for real: rootless podman as the user mcp, with every line of the units in force."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.systemd.machine import (
    ADDRESS,
    CHECKOUT,
    IMAGE,
    INNER_CONTAINERS_CONF,
    INSTALL,
    MCP_TOML,
    REPOSITORY,
    Machine,
)

UNITS = "/usr/local/lib/systemd/system"
HAPROXY = Path("/usr/sbin/haproxy")
_SHOP = """\
name = "shop"
node = "n1"
[[components]]
name = "web"
image = "localhost/busy:v1"
cmd = ["sh", "-c", "exec httpd -f -p $PORT -h /data"]
volumes = ["/srv/shop:/data"]
[[components.routes]]
host = "shop.example.net"
listen = 80
[[components.routes]]
host = "shop.example.net"
"""
# As certbot leaves it, but for who signed it.
_PAIR = """
cd /srv/mcp/proxy/certificates
openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=shop -addext subjectAltName=DNS:shop.example.net \
    -keyout /tmp/privkey.pem -out /tmp/fullchain.pem 2>/dev/null
install -d -o mcp -g mcp -m 700 shop
install -o mcp -g mcp -m 600 /tmp/privkey.pem /tmp/fullchain.pem shop
"""


def http(machine: Machine) -> str:
    return machine.run("busybox", "wget", "-q", "-O-", "http://127.0.0.1:8080/", status=None).stdout.strip()


def main_pid(machine: Machine, unit: str = "mcpd") -> int:
    return int(machine.show(unit, "MainPID"))


def bring_haproxy(machine: Machine) -> None:
    """Brings this machine's HAProxy, as there is none inside and no network; skips the test when it does not run."""
    if not HAPROXY.exists():
        pytest.skip("there is no HAProxy here to bring (apt-get install haproxy)")
    said = subprocess.run(["ldd", str(HAPROXY)], capture_output=True, text=True, timeout=30, check=True).stdout
    for path in (HAPROXY, *map(Path, re.findall(r"=> (/\S+)", said))):
        if machine.run("test", "-e", str(path), status=None).returncode:
            machine.run("sh", "-c", 'cat >"$1" && chmod 755 "$1"', "-", str(path), stdin=path.read_bytes())
    if machine.run(str(HAPROXY), "-v", status=None).returncode:
        pytest.skip("the HAProxy of this machine does not run inside")


def page(machine: Machine) -> str:
    """What the route on port 80 answers."""
    wget = ("busybox", "wget", "-q", "-O-", "--header", "Host: shop.example.net", "http://127.0.0.1/")
    return machine.run(*wget, status=None).stdout.strip()


def uptime(machine: Machine) -> float:
    """In seconds."""
    return float(machine.sh("cut -d ' ' -f 1 /proc/uptime"))


def serves(machine: Machine) -> bool:
    return machine.show("mcpd", "SubState") == "running" and not machine.run("mcpctl", "list", status=None).returncode


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    boot: Callable[[], AbstractContextManager[Machine]],
) -> None:
    everything = (
        "find /etc /opt /srv /usr /var/lib/systemd/linger -printf '%p %U %m %s %T@\\n' 2>/dev/null | sort || true"
    )
    with boot() as bare:
        before = bare.sh(everything)
        words = bare.run(INSTALL, "--dry-run", "--node", "n1", "--address", ADDRESS)
        assert "would run: usermod --add-subuids 100000-165535 mcp" in words.stderr
        assert "would write /usr/local/lib/systemd/system/mcpd.service" in words.stderr
        assert "mcpd init /srv/mcp --node n1" in words.stderr
        assert bare.run("id", "mcp", status=None).returncode
        after = bare.sh(everything)
        assert after == before


def test_it_is_ready_once_it_answers_and_says_how_the_node_is(machine: Machine) -> None:
    machine.run("systemctl", "restart", "mcpd")
    assert machine.show("mcpd", "ActiveState") == "active"
    assert machine.run("mcpctl", "list").returncode == 0, "the start command returned when calls were answered"
    assert machine.show("mcpd", "StatusText").startswith("1 service, 2 components, all as declared; podman ")


def test_mcpd_runs_as_its_user_and_podman_is_rootless(machine: Machine) -> None:
    status = machine.sh(f"cat /proc/{main_pid(machine)}/status")
    (uid,) = re.findall(r"^Uid:\t(\d+)", status, re.MULTILINE)
    assert uid == machine.sh("id -u mcp").strip() != "0"
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert machine.as_mcp("podman", "info", "--format", "{{.Host.Security.Rootless}}").strip() == "true"


def test_containers_live_on_when_mcpd_is_restarted_or_killed(machine: Machine) -> None:
    before = machine.containers()
    assert set(before) == {"demo-web", "demo-worker"}
    machine.run("systemctl", "restart", "mcpd")
    assert machine.containers() == before
    killed = main_pid(machine)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "mcpd")
    until(lambda: main_pid(machine) not in (0, killed) and serves(machine), "systemd has started it again")
    assert machine.containers() == before
    machine.run("systemctl", "stop", "mcpd")
    assert machine.containers() == before
    assert http(machine) == "hello"
    machine.run("systemctl", "start", "mcpd")
    assert machine.containers() == before


def test_no_podman_service_is_left_behind(machine: Machine) -> None:
    def services() -> int:
        return machine.sh("grep -lz '^service$' /proc/[0-9]*/cmdline 2>/dev/null || true").count("\n")

    machine.run("systemctl", "restart", "mcpd")
    until(lambda: services() == 1, "one API service of podman's runs")
    machine.run("systemctl", "stop", "mcpd")
    until(lambda: services() == 0, "none runs without mcpd")
    machine.run("systemctl", "start", "mcpd")


def test_the_first_podman_of_a_boot_leaves_no_service_behind_either(machine: Machine) -> None:
    # Without the pause process podman serves in a child.
    machine.run("systemctl", "stop", "mcpd")
    machine.as_mcp("podman", "kill", "--all")
    machine.as_mcp("podman", "system", "migrate")  # which ends the pause process
    machine.run("systemctl", "start", "mcpd")
    machine.run("systemctl", "stop", "mcpd")
    try:
        count = "grep -lz '^service$' /proc/[0-9]*/cmdline 2>/dev/null || true"
        until(lambda: not machine.sh(count), "none runs without mcpd")
    finally:
        machine.run("systemctl", "start", "mcpd")
        machine.run("mcpctl", "start", "demo")


def test_what_a_container_sees_is_not_changed_by_the_units_own_mounts(machine: Machine) -> None:
    """ProtectSystem=full gives mcpd mounts of its own, in which podman then runs."""
    machine.sh("mkdir -p /mnt/late && mount -t tmpfs late /mnt/late && mkdir /mnt/late/data")
    try:
        machine.sh("chown mcp: /mnt/late/data && echo late >/mnt/late/data/file")
        mounts = ("-v", "/mnt/late/data:/data", "localhost/busy:v1")
        script = "cat /data/file && echo written >/data/written"
        assert machine.as_mcp("podman", "run", "--rm", "--network=none", *mounts, "sh", "-c", script) == "late\n"
        assert machine.sh("cat /mnt/late/data/written") == "written\n"
    finally:
        machine.sh("umount -l /mnt/late")


def test_a_mcpd_that_hangs_is_ended_and_started_again(machine: Machine) -> None:
    before = machine.containers()
    machine.write("/etc/systemd/system/mcpd.service.d/50-test.conf", "[Service]\nWatchdogSec=2s\nRestartSec=0\n")
    machine.sh("systemctl daemon-reload && systemctl restart mcpd")
    try:
        hung = main_pid(machine)
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "mcpd")
        until(lambda: main_pid(machine) not in (0, hung) and serves(machine), "the watchdog has acted")
        assert int(machine.show("mcpd", "NRestarts")) == 1
        journal = machine.journal("mcpd")
        assert "Watchdog timeout (limit 2s)!" in journal
        assert "Failed with result 'watchdog'" in journal
        assert "Fatal Python error: Aborted" in journal, "the journal has where it hung"
        assert machine.containers() == before
        # One that does not hang is left alone, however short the watchdog's patience.
        healthy, then = main_pid(machine), uptime(machine)
        until(lambda: uptime(machine) > then + 5, "5 s have gone by")
        assert main_pid(machine) == healthy
    finally:
        machine.sh(
            "rm /etc/systemd/system/mcpd.service.d/50-test.conf; systemctl daemon-reload; systemctl restart mcpd"
        )


def test_a_node_whose_address_comes_late_is_not_given_up(machine: Machine) -> None:
    machine.write("/etc/systemd/system/mcpd.service.d/50-test.conf", "[Service]\nTimeoutStartSec=2s\n")
    machine.sh("systemctl daemon-reload; sed -i 's,127.0.0.1:9444,10.99.0.1:9444,' /srv/mcp/mcpd.toml")
    try:
        machine.run("systemctl", "restart", "--no-block", "mcpd")
        until(lambda: machine.show("mcpd", "ActiveState") == "activating", "it starts")
        pid, then = main_pid(machine), uptime(machine)
        until(lambda: uptime(machine) > then + 5, "the time for a start is over")
        assert (machine.show("mcpd", "ActiveState"), main_pid(machine)) == ("activating", pid)
        machine.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
        until(lambda: machine.show("mcpd", "ActiveState") == "active", "it has its address")
        assert main_pid(machine) == pid
    finally:
        machine.sh("rm /etc/systemd/system/mcpd.service.d/50-test.conf; systemctl daemon-reload")
        machine.sh("sed -i 's,10.99.0.1:9444,127.0.0.1:9444,' /srv/mcp/mcpd.toml; systemctl restart mcpd")


def test_a_reload_reads_again_and_is_over_when_the_command_returns(machine: Machine) -> None:
    pid = main_pid(machine)
    machine.sh("sed -i 's,/usr/local/bin/notify,/bin/true,' /srv/mcp/mcpd.toml")
    machine.run("systemctl", "reload", "mcpd")
    until(lambda: "certificate reloaded" in machine.journal("mcpd"), "it has read again")
    until(lambda: machine.show("mcpd", "ActiveState") == "active", "the reload is over")
    assert main_pid(machine) == pid


def test_the_nightly_snapshot_is_at_two(machine: Machine) -> None:
    next_time = machine.show("mcpd-backup.timer", "NextElapseUSecRealtime")
    machine.run("systemctl", "list-timers", "mcpd-backup.timer")
    when = datetime.strptime(next_time, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    night = when.replace(hour=2, minute=0, second=0)
    assert night <= when <= night + timedelta(minutes=5)
    assert machine.show("mcpd-backup.timer", "Persistent") == "yes"


def test_a_backup_makes_a_snapshot_that_restores(machine: Machine) -> None:
    pid = main_pid(machine)
    machine.run("systemctl", "start", "mcpd-backup")
    (newest,) = machine.sh("ls -t /srv/mcp/snapshots | head -n 1").split()
    said = machine.as_mcp("mcpd", "restore", "--dry-run", f"/srv/mcp/snapshots/{newest}")
    assert "can be restored: 1 services" in said
    assert machine.sh(f"stat -c '%U %a' /srv/mcp/snapshots/{newest}") == "mcp 600\n"
    assert main_pid(machine) == pid


def test_installing_again_changes_nothing(machine: Machine) -> None:
    pid, containers = main_pid(machine), machine.containers()
    config = machine.sh("sha256sum /srv/mcp/mcpd.toml /srv/mcp/admin.token /etc/subuid /etc/subgid")
    again = machine.run(INSTALL, "--node", "other", "--address", "127.0.0.2:1").stderr
    assert "is there, and stays as it is" in again
    assert machine.sh("sha256sum /srv/mcp/mcpd.toml /srv/mcp/admin.token /etc/subuid /etc/subgid") == config
    assert main_pid(machine) == pid
    assert machine.containers() == containers


def test_the_units_are_sound(machine: Machine) -> None:
    units = "mcpd.service mcpd-backup.service mcpd-backup.timer"
    done = machine.run("bash", "-c", f"cd /usr/local/lib/systemd/system && systemd-analyze verify {units} 2>&1")
    assert [line for line in done.stdout.splitlines() if "mcpd" in line] == []


def test_the_exposure_is_not_worse_than_documented(machine: Machine) -> None:
    text = (REPOSITORY / "docs/systemd.md").read_text()
    for unit in ("mcpd.service", "mcpd-backup.service", "mcp-haproxy.service"):
        (documented,) = re.findall(rf"`{unit}`: exposure (\d+\.\d)", text)
        said = machine.sh(f"systemd-analyze security --offline=yes --threshold=100 {CHECKOUT}/contrib/systemd/{unit}")
        (measured,) = re.findall(r"exposure level for \S+: (\d+\.\d)", said)
        assert float(measured) <= float(documented), f"{unit} is more exposed than docs/systemd.md says"


def test_haproxy_is_installed_beside_mcpd_and_leads_to_a_service(
    boot: Callable[[], AbstractContextManager[Machine]],
) -> None:
    with boot() as machine:
        bring_haproxy(machine)
        machine.run(INSTALL, "--node", "n1", "--address", ADDRESS, "--proxy", "haproxy")
        verify = f"cd {UNITS} && systemd-analyze verify mcp-haproxy.service 2>&1"
        assert [line for line in machine.sh(verify).splitlines() if "haproxy" in line] == []
        until(lambda: machine.show("mcp-haproxy", "ActiveState") == "active", "HAProxy has its configuration")
        machine.write("/srv/mcp/.config/containers/containers.conf", INNER_CONTAINERS_CONF)
        machine.run("systemctl", "restart", "mcpd")
        machine.sh(IMAGE)
        machine.as_mcp("podman", "import", "/var/tmp/image.tar", "localhost/busy:v1")
        machine.sh("install -d -o mcp -g mcp /srv/shop; echo open >/srv/shop/index.html")
        machine.write("/root/.config/mcp/mcp.toml", MCP_TOML)
        machine.write("/root/.config/mcp/services/shop.toml", _SHOP)
        machine.sh("install -m 600 /srv/mcp/admin.token /root/.config/mcp/token; mcpctl deploy shop")
        assert page(machine) == "open"
        master = main_pid(machine, "mcp-haproxy")
        # A certificate opens the other port, without a restart; its key is for the user mcp alone.
        machine.sh(_PAIR)
        greeting = "openssl s_client -connect 127.0.0.1:443 -servername shop.example.net </dev/null 2>&1 || true"
        until(lambda: "CN = shop" in machine.sh(greeting), "HAProxy has the certificate")
        assert main_pid(machine, "mcp-haproxy") == master
        # Of what its user has, it sees nothing but its own.
        seen = machine.sh(f"nsenter --mount --target {master} ls -R /srv 2>&1")
        assert "haproxy.cfg" in seen
        assert not [each for each in ("mcp.db", "admin.token", "index.html") if each in seen]
        # It runs on without mcpd, and comes back when it is killed.
        machine.run("systemctl", "stop", "mcpd")
        assert page(machine) == "open"
        machine.run("systemctl", "kill", "--signal=KILL", "mcp-haproxy")
        until(lambda: main_pid(machine, "mcp-haproxy") not in (0, master), "systemd has started it again")
        until(lambda: page(machine) == "open", "it has the table without mcpd")
        # An upgrade leaves it as it is.
        master = main_pid(machine, "mcp-haproxy")
        machine.run(INSTALL)
        assert main_pid(machine, "mcp-haproxy") == master
        machine.run(INSTALL, "uninstall")
        assert machine.run("systemctl", "status", "mcp-haproxy", status=None).returncode == 4, "there is no such unit"


def test_uninstalling_leaves_data_and_containers(machine: Machine) -> None:
    """Last, since it takes mcpd away; and installing again brings it back to what it was."""
    containers = machine.containers()
    said = machine.run(INSTALL, "uninstall")
    assert "These stay: /srv" in said.stderr
    assert machine.run("systemctl", "status", "mcpd", status=None).returncode == 4, "there is no such unit"
    assert machine.run("sh", "-c", "ls /opt/mcp /usr/local/bin/mcpd", status=None).stdout == ""
    assert machine.containers() == containers
    assert "mcp.db" in machine.sh("ls /srv/mcp")
    machine.run(INSTALL)
    until(lambda: serves(machine), "it serves again")
    assert machine.show("mcpd", "StatusText").startswith("1 service, 2 components, all as declared; podman ")
    assert machine.containers() == containers
