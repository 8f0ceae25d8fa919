"""Real deaths of real containers: seen at once, told once, with what happened; and healed when that is wanted."""

from __future__ import annotations

import os
import signal

import pytest

from tests.podman.node import Node, kinds, told, until, until_recorded

SOLO = 'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "localhost/mcp-demo:v1"\n'


@pytest.fixture
def quiet(node: Node) -> Node:
    """The shared node, its alerts forgotten; and no cooldown that an earlier test could have begun."""
    (node.folder / "alerts.jsonl").unlink(missing_ok=True)
    return node


def deploy(node: Node, name: str, more: str = "", image: str = "localhost/mcp-demo:v1") -> None:
    node.define(name, SOLO.replace("solo", name).replace("localhost/mcp-demo:v1", image) + more)
    node.mcpctl("deploy", name)


def test_a_death_that_nothing_mends_is_told_at_once_with_its_exit_code(quiet: Node) -> None:
    deploy(quiet, "dies")
    os.kill(quiet.pids()["dies"], signal.SIGKILL)
    until(lambda: kinds(quiet, "dies") == ["drift"])
    (alert,) = told(quiet, "dies")
    assert alert["MCP_REASON"] == "exited 137 (SIGKILL)"
    assert (alert["MCP_DESIRED"], alert["MCP_OBSERVED"], alert["MCP_NODE"]) == ("running", "exited", quiet.name)
    (row,) = [each for each in quiet.json("status")[0]["components"] if each["component"] == "dies"]
    assert row["drift"] == "exited 137 (SIGKILL)"
    quiet.mcpctl("start", "dies")
    until(lambda: kinds(quiet, "dies") == ["drift", "recovered"])


def test_a_stop_by_hand_is_told_as_such(quiet: Node) -> None:
    deploy(quiet, "byhand", 'restart = "always"\n')
    quiet.podman("stop", "--time", "5", "byhand")
    until(lambda: kinds(quiet, "byhand") == ["drift"])
    reason = told(quiet, "byhand")[0]["MCP_REASON"]
    assert reason.startswith("exited 0")
    assert reason.endswith("stopped by hand")


def test_a_container_that_is_removed_is_told_of_once_and_shown_as_missing(quiet: Node) -> None:
    """`podman rm --force` kills it first, which is what is told; that it is gone as well adds nothing to do."""
    deploy(quiet, "removed")
    quiet.podman("rm", "--force", "--time", "0", "removed")
    until(lambda: kinds(quiet, "removed") == ["drift"])
    assert told(quiet, "removed")[0]["MCP_REASON"].startswith("exited 137 (SIGKILL)")
    until(lambda: "missing: no such container" in quiet.mcpctl("status", "removed").stdout)
    until(lambda: "removed" in [row["kind"] for row in quiet.json("events", "removed")])
    assert kinds(quiet, "removed") == ["drift"]


def test_hostile_labels_are_data(quiet: Node) -> None:
    """A container that claims to be ours, with names that a shell would act on and a newline: shown, and no more."""
    trap = quiet.folder / "trap"
    bait = f"$(touch {trap})`touch {trap}`;touch {trap}\n|'\"& <{trap} >{trap}"
    labels = [f"--label={name}={bait}" for name in ("mcp.service", "mcp.component", "mcp.spec-hash", "mcp.node", "x")]
    quiet.podman("run", "--detach", "--name", "hostile", *labels, f"--env=X={bait}", "localhost/mcp-demo:v1")
    until(lambda: bait in [row["service"] for row in quiet.json("ps", "--all")])
    os.kill(quiet.pids()["hostile"], signal.SIGKILL)
    until(lambda: bait in [row["service"] for row in quiet.json("events")])
    # An alert of another service, afterwards: by then everything was done with this one that ever is.
    deploy(quiet, "honest")
    os.kill(quiet.pids()["honest"], signal.SIGKILL)
    until(lambda: kinds(quiet, "honest") == ["drift"])
    assert told(quiet, bait) == []
    assert not trap.exists()
    quiet.podman("rm", "hostile")


def test_our_own_operations_tell_nothing(quiet: Node) -> None:
    deploy(quiet, "ours")
    deploy(quiet, "ours", image="localhost/mcp-demo:v2")
    quiet.mcpctl("restart", "ours")
    quiet.mcpctl("stop", "ours")
    quiet.mcpctl("start", "ours")
    # An alert of another service, afterwards: what was to be told of this one would have come before it.
    deploy(quiet, "other")
    os.kill(quiet.pids()["other"], signal.SIGKILL)
    until(lambda: kinds(quiet, "other") == ["drift"])
    assert kinds(quiet, "ours") == []


def test_a_component_that_dies_is_healed_and_that_is_in_the_ledger(quiet: Node) -> None:
    deploy(quiet, "healed", 'heal = "restart"\n')
    first = quiet.pids()["healed"]
    os.kill(first, signal.SIGKILL)
    until(lambda: quiet.pids().get("healed") not in (None, first))
    until(lambda: "exited" in [row["kind"] for row in quiet.json("events", "healed")])
    rows = [(row["kind"], row["caller"], row["message"]) for row in quiet.json("events", "healed")]
    assert ("exited", "", "exited 137 (SIGKILL)") in rows
    until(
        lambda: (
            ("started", "mcpd", "healed")
            in [(row["kind"], row["caller"], row["message"]) for row in quiet.json("events", "healed")]
        )
    )
    assert kinds(quiet, "healed") == []


def test_a_crash_loop_is_one_flap_alert(quiet: Node) -> None:
    """It starts well, and from then on dies within a moment of every start."""
    crash = 'heal = "restart"\ncmd = ["sh", "-c", "test -e /tmp/die && sleep 0.3 && exit 7; exec serve"]\n'
    deploy(quiet, "crashes", crash)
    quiet.podman("exec", "crashes", "touch", "/tmp/die")
    os.kill(quiet.pids()["crashes"], signal.SIGKILL)
    until(lambda: "flap" in kinds(quiet, "crashes"))
    assert kinds(quiet, "crashes") == ["flap"]
    assert "3 times down within" in told(quiet, "crashes")[0]["MCP_REASON"]


def test_a_probe_that_fails_is_told_with_its_own_words_and_closed_when_it_is_well(quiet: Node) -> None:
    probe = '[components.health]\ncmd = ["sh", "-c", "test ! -e /tmp/ill || { echo no database; exit 3; }"]\n'
    deploy(quiet, "probed", probe + 'interval = "200ms"\nretries = 2\n')
    until(lambda: {row["observed"] for row in quiet.json("ps", "probed")} == {"healthy"})
    quiet.podman("exec", "probed", "touch", "/tmp/ill")
    until(lambda: {row["observed"] for row in quiet.json("ps", "probed")} == {"unhealthy"})
    assert "unhealthy: sh exited 3: no database" in quiet.mcpctl("status", "probed").stdout
    until(lambda: kinds(quiet, "probed") == ["drift"])
    assert "no database" in told(quiet, "probed")[0]["MCP_REASON"]
    quiet.podman("exec", "probed", "rm", "/tmp/ill")
    until(lambda: kinds(quiet, "probed") == ["drift", "recovered"])


def test_a_probe_that_prints_much_is_believed_all_the_same(quiet: Node) -> None:
    """podman says 0 of a session that still runs: whoever stops reading believes that."""
    loud = "yes no database | head -c 300000; test ! -e /tmp/ill"
    probe = f'[components.health]\ncmd = ["sh", "-c", "{loud}"]\n'
    deploy(quiet, "loud", probe + 'interval = "1s"\nretries = 2\n')
    until(lambda: {row["observed"] for row in quiet.json("ps", "loud")} == {"healthy"})
    quiet.podman("exec", "loud", "touch", "/tmp/ill")
    until(lambda: {row["observed"] for row in quiet.json("ps", "loud")} == {"unhealthy"})
    assert "no database" in quiet.mcpctl("status", "loud").stdout


def test_a_probe_that_hangs_leaves_nothing_running_in_the_container(quiet: Node) -> None:
    probe = '[components.health]\ncmd = ["sleep", "98765"]\ntimeout = "1s"\ninterval = "1s"\nretries = 2\n'
    quiet.define("hangs", SOLO.replace("solo", "hangs") + probe)
    failed = quiet.mcpctl("deploy", "hangs", status=1)
    assert "no answer within 1 s" in failed.stderr
    deploy(quiet, "hangs")
    quiet.define("hangs", SOLO.replace("solo", "hangs") + probe)
    quiet.mcpctl("sync")
    until(lambda: {row["observed"] for row in quiet.json("ps", "hangs")} == {"unhealthy"})
    quiet.define("hangs", SOLO.replace("solo", "hangs"))
    quiet.mcpctl("deploy", "hangs")
    until(lambda: "98765" not in quiet.podman("top", "hangs", "args"))


def test_what_is_unhealthy_is_restarted_and_told_as_healed(quiet: Node) -> None:
    """Its illness is kept in memory, as most are: another process is well."""
    probe = '[components.health]\ncmd = ["sh", "-c", "test ! -e /dev/shm/ill"]\ninterval = "1s"\nretries = 2\n'
    deploy(quiet, "sick", 'heal = "restart"\n' + probe)
    first = quiet.pids()["sick"]
    until(lambda: {row["observed"] for row in quiet.json("ps", "sick")} == {"healthy"})
    quiet.podman("exec", "sick", "touch", "/dev/shm/ill")
    until(lambda: quiet.pids().get("sick") not in (None, first))
    until(lambda: {row["observed"] for row in quiet.json("ps", "sick")} == {"healthy"})
    rows = [(row["kind"], row["caller"], row["message"]) for row in quiet.json("events", "sick")]
    assert ("restarted", "mcpd", "restarted to heal it: it was unhealthy") in rows
    assert ("heal", "completed") in [(each["kind"], each["state"]) for each in quiet.json("operations")]
    assert not any("by hand" in each["MCP_REASON"] for each in told(quiet, "sick"))


def test_a_pause_is_in_the_ledger_and_no_illness(quiet: Node) -> None:
    probe = '[components.health]\ncmd = ["true"]\ninterval = "1s"\nretries = 1\n'
    deploy(quiet, "rests", 'heal = "restart"\n' + probe)
    until(lambda: {row["observed"] for row in quiet.json("ps", "rests")} == {"healthy"})
    first = quiet.pids()["rests"]
    quiet.podman("pause", "rests")
    until(lambda: "paused" in [row["kind"] for row in quiet.json("events", "rests")])
    until(lambda: kinds(quiet, "rests") == ["drift"])
    assert told(quiet, "rests")[0]["MCP_REASON"] == "paused, should be running"
    quiet.podman("unpause", "rests")
    until(lambda: kinds(quiet, "rests") == ["drift", "recovered"])
    rows = [(row["kind"], row["message"]) for row in quiet.json("events", "rests")]
    assert rows[-2:] == [("paused", "paused"), ("healthy", "unpaused")]
    assert quiet.pids()["rests"] == first


def test_a_restart_policy_of_podmans_own_is_left_to_it(quiet: Node) -> None:
    deploy(quiet, "policy", 'restart = "always"\nheal = "restart"\n')
    # A run that podman has replaced before anybody saw it is in no ledger.
    until(lambda: "running" in [row["kind"] for row in quiet.json("events", "policy")])
    first = quiet.pids()["policy"]
    os.kill(first, signal.SIGKILL)
    until(lambda: quiet.pids().get("policy") not in (None, first))
    until(lambda: [row["kind"] for row in quiet.json("events", "policy")].count("running") == 2)
    assert "healed" not in [row["message"] for row in quiet.json("events", "policy")]
    assert kinds(quiet, "policy") == []


def test_what_died_while_mcpd_was_down_is_told_when_it_is_back_and_only_once(quiet: Node) -> None:
    deploy(quiet, "while-down")
    pid = quiet.pids()["while-down"]
    quiet.stop_daemon(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    quiet.up()
    until_recorded(quiet, "while-down", ["drift"])
    assert told(quiet, "while-down")[0]["MCP_REASON"] == "exited 137 (SIGKILL)"
    for number in (signal.SIGKILL, signal.SIGTERM):
        quiet.stop_daemon(number)
        quiet.up()
        until(lambda: all(link["ok"] for link in quiet.json("node", "show", quiet.name)[0]["links"]))
    assert kinds(quiet, "while-down") == ["drift"]


def test_sighup_puts_another_alert_command_in_place(quiet: Node) -> None:
    deploy(quiet, "rehupped")
    settings, proof = quiet.folder / "mcpd.toml", quiet.folder / "proof"
    before = settings.read_text()
    try:
        line = next(line for line in before.splitlines() if line.startswith("alert_command"))
        settings.write_text(before.replace(line, f'alert_command = ["/bin/touch", "{proof}"]'))
        os.kill(quiet.mcpd_pid, signal.SIGHUP)
        until(lambda: "and the alert command" in quiet.log)
        os.kill(quiet.pids()["rehupped"], signal.SIGKILL)
        until(proof.exists)
    finally:
        settings.write_text(before)
        os.kill(quiet.mcpd_pid, signal.SIGHUP)
    assert kinds(quiet, "rehupped") == []


def test_after_a_reboot_everything_is_started_and_one_alert_names_what_did_not_come_back(quiet: Node) -> None:
    """A reboot as far as one can have it here: other boot id, and no container running."""
    deploy(quiet, "comes-back", 'restart = "always"\n')
    deploy(quiet, "does-not", 'cmd = ["sh", "-c", "test -e /tmp/die && exit 9; exec serve"]\n')
    quiet.podman("exec", "does-not", "touch", "/tmp/die")
    quiet.stop_daemon(signal.SIGTERM)
    from contextlib import closing
    from sqlite3 import connect

    with closing(connect(quiet.folder / "mcp.db")) as database, database:
        database.execute("UPDATE facts_of_node SET value = 'another boot' WHERE name = 'boot_id'")
    with quiet.podman_alone():
        quiet.podman("stop", "--all", "--time", "1")
    quiet.up()
    until(lambda: "comes-back" in quiet.pids())
    until(lambda: kinds(quiet, "") == ["reboot"])
    (alert,) = told(quiet, "")
    assert "does-not/does-not" in alert["MCP_REASON"]
    assert "comes-back" not in alert["MCP_REASON"]
    assert kinds(quiet, "does-not") == []
