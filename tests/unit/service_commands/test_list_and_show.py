"""`mcpctl service list` and `mcpctl service show`."""

import json
import tomllib
from pathlib import Path

import pytest

from protos.spec import examine_service
from tests.support.agent import WEB, Node, Run, columns, stripped
from tests.support.definitions import MORE


def test_definitions_are_listed_without_a_network(run: Run, web: Path, rift: Node) -> None:
    status, out, err = run("service", "list")
    assert (status, err) == (0, "")
    assert stripped(out.splitlines()[1]) == ["web", "rift", "yes", "api", str(web)]
    assert rift.agent.seen_tokens == []


def test_a_broken_definition_is_listed_with_its_error(run: Run, web: Path) -> None:
    (web.parent / "bad.toml").write_text('name = "bad"\n')
    (web.parent / "zero.toml").write_text("= \x1b")
    status, out, err = run("service", "list")
    assert status == 2
    assert [columns(line)[0].strip() for line in out.splitlines()] == ["NAME", "bad", "web", "zero"]
    assert "bad.toml: node: is missing" in err
    assert "zero.toml: is not TOML" in err
    assert "\x1b" not in err
    rows = json.loads(run("service", "list", "--output", "json").out)
    assert [(each["name"], each["active"], bool(each["error"])) for each in rows] == [
        ("bad", None, True),
        ("web", True, False),
        ("zero", None, True),
    ]


# -- show


def test_a_definition_is_shown_with_its_defaults(run: Run, web: Path) -> None:
    web.write_text(MORE)
    status, out, err = run("service", "show", "web")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"# {web}"
    assert 'image = "x:v1"' in lines
    assert 'restart = "no"  # default' in lines
    assert 'stop_timeout = "10s"  # default' in lines
    assert "network = (the service's own, unless networks says others)  # default" in lines
    assert 'env = { LOG = "info" }' in lines
    assert 'resources.memory = "64MiB"' in lines
    assert "resources.cpus = 0 (no limit)  # default" in lines
    assert "active = true  # default" in lines


def test_a_definition_is_shown_as_json_as_a_whole(run: Run, web: Path) -> None:
    found = json.loads(run("service", "show", "web", "--output", "json").out)
    assert found["file"] == str(web)
    # Nothing is left out, and it can be read as a definition.
    (only,) = found["service"]["components"]
    assert only["stop_timeout"] == "10s"
    assert only["resources"].items() >= {"memory": 0, "cpus": 0.0, "pids": 0}.items()
    assert examine_service(found["service"]) == (examine_service(tomllib.loads(WEB))[0], [])


def test_what_has_several_tables_is_shown_too(run: Run, web: Path) -> None:
    config = '[[components.configs]]\ntarget = "/a"\ncontent = "b\\nc"\nmode = "0440"\n'
    web.write_text(MORE + f'{config}[volumes.cache]\ndriver = "nfs"\noptions = {{ a = "b" }}\n')
    status, out, err = run("service", "show", "web")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert 'configs = [{ target = "/a", content = "b\\nc", mode = "0440" }]' in lines
    assert 'volumes.cache.driver = "nfs"' in lines
    assert "volumes.cache.external = false  # default" in lines
    assert "entrypoint = (the image's)  # default" in lines
    assert "log.max_size = 0 (10MiB)  # default" in lines
    found = json.loads(run("service", "show", "web", "--output", "json").out)
    assert found["service"]["components"][0]["configs"][0]["mode"] == "0440"
    assert found["service"]["volumes"]["cache"]["options"] == {"a": "b"}


@pytest.mark.usefixtures("web")
def test_a_service_without_a_definition_is_not_shown(run: Run) -> None:
    status, out, err = run("service", "show", "wbe")
    assert (status, out) == (2, "")
    assert "did you mean web?" in err
