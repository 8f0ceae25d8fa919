"""An operator deploys a service, looks at it, changes it, stops and starts it, and takes it away."""

from __future__ import annotations

import json
import subprocess

from tests.podman.node import Node
from tests.support.demo_service import DEMO, answer, demo, edit, states
from tests.support.waiting import free_port, until


def outcomes(node: Node, *words: str, status: int = 0) -> dict[str, str]:
    """What a changing command says of each component."""
    done = node.mcpctl(*words, "--output", "json", status=status)
    if words[0] == "deploy":
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        rows = [line["outcome"] for line in lines if "outcome" in line]
    else:
        rows = json.loads(done.stdout)
    return {row["component"]: row["result"] for row in rows}


def test_a_deployed_service_answers_and_is_shown_by_every_listing(node: Node) -> None:
    port = demo(node)
    assert answer(port) == "v1"
    assert node.containers() == {"demo-web", "demo-worker"}
    assert states(node) == {"web": "running", "worker": "running"}
    (service,) = node.json("list")
    assert (service["name"], service["active"], service["node"]) == ("demo", True, node.name)
    assert [each["version"] for each in service["components"]] == ["v1", "v1"]
    (status,) = node.json("status")
    assert [each["drift"] for each in status["components"]] == ["", ""]
    for command in ("list", "ps", "status"):
        assert "demo" in node.mcpctl(command).stdout


def test_progress_is_streamed_step_by_step_in_dependency_order(node: Node) -> None:
    node.define("demo", DEMO.replace("PORT", str(free_port())))
    lines = [json.loads(line) for line in node.mcpctl("deploy", "demo", "--output", "json").stdout.splitlines()]
    steps = [(line["progress"]["component"], line["progress"]["step"]) for line in lines if "progress" in line]
    each = ("create", "start", "verify")
    assert steps == [
        ("", "plan"),
        ("web", "network"),
        *(("worker", step) for step in each),
        *(("web", step) for step in each),
    ]


def test_what_is_unchanged_is_not_touched(node: Node) -> None:
    demo(node)
    before = node.pids()
    assert outcomes(node, "deploy", "demo") == {"web": "unchanged", "worker": "unchanged"}
    assert node.pids() == before


def test_only_the_component_that_changed_is_replaced(node: Node) -> None:
    port = demo(node)
    before = node.pids()
    edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:v2"\nports')
    assert outcomes(node, "deploy", "demo") == {"web": "replaced", "worker": "unchanged"}
    assert answer(port) == "v2"
    after = node.pids()
    assert after["demo-worker"] == before["demo-worker"]
    assert after["demo-web"] != before["demo-web"]
    assert node.containers() == {"demo-web", "demo-worker"}


def test_one_component_can_be_deployed_by_itself(node: Node) -> None:
    demo(node)
    before = node.pids()
    edit(node, "mcp-demo:v1", "mcp-demo:v2")
    assert outcomes(node, "deploy", "demo/worker") == {"worker": "replaced"}
    assert node.pids()["demo-web"] == before["demo-web"]


def test_force_recreates_what_is_unchanged(node: Node) -> None:
    demo(node)
    before = node.pids()
    assert outcomes(node, "deploy", "demo", "--force") == {"web": "replaced", "worker": "replaced"}
    assert not set(before.values()) & set(node.pids().values())


def test_a_deploy_that_fails_puts_everything_back_and_says_why(node: Node) -> None:
    port = demo(node)
    edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:broken"\nports')
    edit(node, 'worker"\nimage = "localhost/mcp-demo:v1', 'worker"\nimage = "localhost/mcp-demo:v2')
    failed = node.mcpctl("deploy", "demo", status=1)
    assert "web failed at verify: exited 1" in failed.stderr
    assert "broken: cannot open /etc/broken.conf" in failed.stderr
    assert answer(port) == "v1"
    assert node.containers() == {"demo-web", "demo-worker"}
    assert {row["component"]: row["version"] for row in node.json("ps")} == {"web": "v1", "worker": "v1"}
    (status,) = node.json("status")
    assert [each["drift"] for each in status["components"]] == ["", ""]


def test_a_new_component_that_fails_leaves_nothing(node: Node) -> None:
    node.define("demo", DEMO.replace("PORT", str(free_port())).replace("mcp-demo:v1", "mcp-demo:broken"))
    node.mcpctl("deploy", "demo", status=1)
    assert node.containers() == set()
    assert node.json("list") == []


def test_a_component_that_never_gets_healthy_is_reverted_with_the_probes_own_words(node: Node) -> None:
    probe = '[components.health]\ncmd = ["sh", "-c", "echo no database; exit 3"]\ninterval = "200ms"\nretries = 2\n'
    node.define("demo", DEMO.replace("PORT", str(free_port())) + probe)
    failed = node.mcpctl("deploy", "demo", status=1)
    assert "worker failed at verify: it runs, but is not healthy: sh exited 3: no database" in failed.stderr
    assert node.containers() == set()


PROBED = """\
name = "solo"
node = "NODE"
[[components]]
name = "solo"
image = "localhost/mcp-demo:v1"
[components.health]
cmd = [PROBE]
interval = "1s"
retries = 2
"""


def probe(node: Node, argv: str) -> None:
    node.define("solo", PROBED.replace("PROBE", argv))


def seen(node: Node) -> tuple[str, str]:
    (status,) = node.json("status", "solo")
    (row,) = status["components"]
    return row["observed"], row["drift"]


def test_a_probe_that_is_changed_in_place_is_asked_before_the_deploy_is_done(node: Node) -> None:
    """Content, it counts from then on; if not, the old one stays, and the container is not touched either way."""
    probe(node, '"true"')
    node.mcpctl("deploy", "solo")
    until(lambda: seen(node) == ("healthy", ""))
    pids = node.pids()
    probe(node, '"sh", "-c", "echo no database; exit 3"')
    assert outcomes(node, "deploy", "solo", status=1) == {"solo": "reverted"}
    failed = node.mcpctl("deploy", "solo", status=1)
    assert "solo failed at verify: its changed probe reports it as unhealthy: sh exited 3: no database" in failed.stderr
    assert "the service was rolled back" in failed.stderr
    # The file is the new one still, and that is no drift.
    said = node.mcpctl("status", "--exit-code").stderr
    assert (seen(node), said.count("mcpctl:")) == (("healthy", ""), 1)
    assert "deployed but different from the definition: solo" in said
    probe(node, '"sh", "-c", "test ! -e /tmp/ill"')
    assert outcomes(node, "deploy", "solo") == {"solo": "updated"}
    assert node.pids() == pids
    node.podman("exec", "solo", "touch", "/tmp/ill")
    until(lambda: seen(node)[0] == "unhealthy")
    node.mcpctl("status", "--exit-code", status=3)
    # The other way round: with a probe that is content the drift is over, and without any as well.
    probe(node, '"true"')
    node.mcpctl("deploy", "solo")
    until(lambda: seen(node) == ("healthy", ""))
    node.podman("exec", "solo", "rm", "/tmp/ill")
    probe(node, '"sh", "-c", "test ! -e /tmp/ill"')
    node.mcpctl("deploy", "solo")
    node.podman("exec", "solo", "touch", "/tmp/ill")
    until(lambda: seen(node)[0] == "unhealthy")
    node.define("solo", PROBED.partition("[components.health]")[0])
    node.mcpctl("deploy", "solo")
    until(lambda: seen(node) == ("running", ""))
    assert node.pids() == pids


def test_what_ends_before_it_has_settled_is_reverted(node: Node) -> None:
    late = 'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "localhost/mcp-demo:v1"\n'
    node.define("solo", late)
    node.mcpctl("deploy", "solo")
    pids = node.pids()
    crash = 'cmd = ["sh", "-c", "sleep 1.5; echo no licence; exit 7"]\nsettle = "5s"\n'
    node.define("solo", late + crash)
    failed = node.mcpctl("deploy", "solo", status=1)
    assert "solo failed at verify: exited 7 1." in failed.stderr
    assert "s after its start" in failed.stderr
    assert "no licence" in failed.stderr
    assert set(node.pids()) == set(pids)
    assert node.json("status", "solo")[0]["components"][0]["drift"] == ""
    # To watch more or less patiently is no other container.
    node.define("solo", late + 'settle = "1s"\n')
    pids = node.pids()
    assert outcomes(node, "deploy", "solo") == {"solo": "updated"}
    assert node.pids() == pids
    assert 'settle = "1s"' in node.mcpctl("service", "export", "solo", "--node", node.name).stdout


def test_a_deploy_waits_until_the_probe_is_content(node: Node) -> None:
    port = free_port()
    probe = f'[components.health]\nhttp = "http://127.0.0.1:{port}/"\n'
    slow = 'cmd = ["sh", "-c", "sleep 1; exec serve"]\n' + probe + '\n[[components]]\nname = "worker"'
    node.define("demo", DEMO.replace("PORT", str(port)).replace('[[components]]\nname = "worker"', slow))
    node.mcpctl("deploy", "demo")
    assert answer(port) == "v1"


def test_stop_and_start_edit_the_definition_and_keep_its_comments(node: Node) -> None:
    demo(node)
    path = node.folder / "services/demo.toml"
    before = path.read_text()
    assert outcomes(node, "stop", "demo") == {"web": "stopped", "worker": "stopped"}
    assert path.read_text() == before.replace("active = true     # wanted", "active = false     # wanted")
    assert states(node) == {"web": "exited", "worker": "exited"}
    assert node.mcpctl("status", "--exit-code").returncode == 0
    assert outcomes(node, "start", "demo") == {"web": "started", "worker": "started"}
    assert path.read_text() == before
    assert states(node) == {"web": "running", "worker": "running"}


def test_one_component_can_be_stopped_and_started(node: Node) -> None:
    demo(node)
    assert outcomes(node, "stop", "demo/worker") == {"worker": "stopped"}
    assert 'name = "worker"\nactive = false\n' in (node.folder / "services/demo.toml").read_text()
    assert states(node) == {"web": "running", "worker": "exited"}
    assert outcomes(node, "deploy", "demo") == {"web": "unchanged", "worker": "unchanged"}
    assert outcomes(node, "start", "demo/worker") == {"worker": "started"}
    assert states(node) == {"web": "running", "worker": "running"}


def test_restart_changes_the_process_and_no_intent(node: Node) -> None:
    demo(node)
    before, text = node.pids(), (node.folder / "services/demo.toml").read_text()
    assert outcomes(node, "restart", "demo/web") == {"web": "restarted"}
    after = node.pids()
    assert after["demo-web"] != before["demo-web"]
    assert after["demo-worker"] == before["demo-worker"]
    assert (node.folder / "services/demo.toml").read_text() == text


def test_undeploy_removes_and_forgets(node: Node) -> None:
    demo(node)
    assert outcomes(node, "undeploy", "demo") == {"web": "removed", "worker": "removed"}
    assert node.containers() == set()
    assert node.json("list") == []
    assert "active = false" in (node.folder / "services/demo.toml").read_text()


def test_drift_is_shown_with_its_reason_and_an_exit_status(node: Node) -> None:
    demo(node)
    node.podman("kill", "demo-worker")
    node.podman("rm", "--force", "--time", "0", "demo-web")
    until(lambda: states(node)["worker"] == "exited")
    drifting = node.mcpctl("status", "--exit-code", status=3)
    assert "exited 137" in drifting.stdout
    assert "missing: no such container" in drifting.stdout
    failed = node.mcpctl("start", "demo", status=1)
    assert "its container demo-web is gone; `mcpctl deploy demo` recreates it" in failed.stdout
    node.mcpctl("deploy", "demo")
    assert node.mcpctl("status", "--exit-code").returncode == 0


def test_a_component_that_is_no_longer_defined_runs_on_and_is_named(node: Node) -> None:
    demo(node)
    path = node.folder / "services/demo.toml"
    head, _, _ = path.read_text().rpartition("[[components]]")
    path.write_text(head.replace('depends_on = ["worker"]\n', ""))
    assert outcomes(node, "deploy", "demo") == {"web": "updated", "worker": "skipped"}
    assert states(node)["worker"] == "running"
    assert outcomes(node, "undeploy", "demo/worker") == {"worker": "removed"}
    assert node.containers() == {"demo-web"}


def test_containers_that_nobody_declared_are_listed_and_never_touched(node: Node) -> None:
    node.podman("run", "--detach", "--name", "stranger", "localhost/mcp-demo:v1")
    demo(node)
    before = node.pids()["stranger"]
    rows = {row["container"]: row["desired"] for row in node.json("ps", "--all")}
    assert rows["stranger"] == "ignore"
    assert "stranger" not in {row["container"] for row in node.json("ps")}
    node.mcpctl("undeploy", "demo")
    assert node.pids() == {"stranger": before}


def test_every_change_is_in_the_ledger_with_its_author(node: Node) -> None:
    demo(node)
    node.mcpctl("restart", "demo/web")
    rows = [row for row in node.json("events", "demo") if row["caller"]]
    events = [(row["component"], row["kind"], row["caller"]) for row in rows[-3:]]
    assert sorted(events[:2]) == [("web", "deployed", "admin"), ("worker", "deployed", "admin")]
    assert events[2] == ("web", "restarted", "admin")


def test_a_service_with_one_component_of_its_name_has_a_bare_container_name(node: Node) -> None:
    node.define(
        "solo", 'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "localhost/mcp-demo:v1"\n'
    )
    node.mcpctl("deploy", "solo")
    before = node.pids()
    assert set(before) == {"solo"}
    path = node.folder / "services/solo.toml"
    path.write_text(path.read_text() + '[[components]]\nname = "side"\nimage = "localhost/mcp-demo:v1"\n')
    assert outcomes(node, "deploy", "solo") == {"solo": "updated", "side": "created"}
    assert node.pids()["solo-solo"] == before["solo"]


def slow_deploy(node: Node) -> subprocess.Popen[bytes]:
    """A deploy of the demo service that has started a component and waits until `go` lets it get healthy."""
    probe = '[components.health]\ncmd = ["test", "-e", "/tmp/go"]\ninterval = "1s"\nretries = 60\n'
    node.define("demo", DEMO.replace("PORT", str(free_port())) + probe)
    deploy = quietly(node, "deploy", "demo")
    until(lambda: "demo-worker" in node.pids())
    return deploy


def go(node: Node) -> None:
    node.podman("exec", "demo-worker", "touch", "/tmp/go")


def quietly(node: Node, *words: str) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(["mcpctl", *words], env=node.environment, stdout=nowhere, stderr=nowhere)


def test_a_second_operation_on_a_service_is_told_who_holds_it_or_waits(node: Node) -> None:
    deploy = slow_deploy(node)
    refused = node.mcpctl("restart", "demo", status=1)
    assert "demo is held by operation" in refused.stderr
    assert "deploy demo by admin since" in refused.stderr
    waiting = quietly(node, "restart", "demo", "--wait")
    go(node)
    assert deploy.wait(60) == 0
    assert waiting.wait(60) == 0


def test_a_client_that_goes_away_does_not_stop_the_operation(node: Node) -> None:
    deploy = slow_deploy(node)
    deploy.kill()
    deploy.wait()
    go(node)
    until(lambda: states(node) == {"web": "running", "worker": "healthy"} and node.json("list"))


def test_a_secret_is_mounted_by_name_and_its_value_never_passes_through_us(node: Node) -> None:
    node.podman("secret", "create", "unseal", "-", stdin=b"correct horse battery")
    node.define(
        "safe",
        'name = "safe"\nnode = "NODE"\n[[components]]\nname = "safe"\nimage = "localhost/mcp-demo:v1"\n'
        'secrets = ["unseal"]\n',
    )
    node.mcpctl("deploy", "safe")
    assert node.podman("exec", "safe", "cat", "/run/secrets/unseal") == "correct horse battery"
    node.mcpctl("undeploy", "safe")
    node.podman("secret", "rm", "unseal")
    for name in ("mcp.db", "mcp.db-wal", "mcpd.log"):
        path = node.folder / name
        assert not path.exists() or b"correct horse" not in path.read_bytes()


def test_what_is_paused_can_be_stopped_replaced_and_undeployed(node: Node) -> None:
    solo = 'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "localhost/mcp-demo:v1"\n'
    node.define("solo", solo)
    node.mcpctl("deploy", "solo")
    for words in (("restart", "solo"), ("stop", "solo"), ("start", "solo")):
        if "solo" in node.pids():
            node.podman("pause", "solo")
        node.mcpctl(*words)
    node.podman("pause", "solo")
    node.define("solo", solo + 'env = { CHANGED = "yes" }\n')
    node.mcpctl("deploy", "solo")
    node.podman("pause", "solo")
    node.mcpctl("undeploy", "solo")
    assert node.containers() == set()
