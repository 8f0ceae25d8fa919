"""What Prometheus gets from a real daemon; and that what we ship for Prometheus and Grafana asks for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mcpd import __version__
from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.registry import jobs
from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from protos.spec import Component, Service
from tests.support.waiting import DEADLINE_S, accepts, free_port, until

from .conftest import HOST, NODE, Daemon, copy_daemon, fill_registry, serving

# Labels, by the name of the metric.
Series = dict[str, list[dict[str, str]]]

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "contrib/prometheus/mcp.rules.yaml"
RULES_TEST = Path(__file__).parent / "rules.test.yaml"
DASHBOARD = REPOSITORY / "contrib/grafana/mcp.json"
DOCUMENT = REPOSITORY / "docs/metrics.md"

METRIC = re.compile(r"\b(?:mcp|process)_[a-z_]+")
# In an expression: a metric with its labels, and the labels that it is grouped by.
SELECTOR = re.compile(r"\b((?:mcp|process)_[a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
INCREASE = re.compile(r"increase\((\w+)(?:\{(.*?)\})?\[")
EQUALS = re.compile(r'(\w+)=~?"([^"]*)"')
# What Prometheus adds to every series by itself.
OF_THE_TARGET = {"instance", "job"}


def with_metrics(node: Daemon) -> int:
    """Has the daemon serve metrics, once it starts; returns the port."""
    port = free_port()
    with node.config.open("a") as config:
        config.write(f'\n[metrics]\naddress = "{HOST}:{port}"\n')
    return port


def scrape(port: int) -> str:
    connection = HTTPConnection(HOST, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def series(text: str) -> Series:
    """The labels of every series, by the name of its metric."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.fixture(scope="module")
def text(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a daemon says that has services, and was called."""
    node = copy_daemon(template, tmp_path_factory.mktemp("metrics") / "node")
    trio.run(fill_registry, node.folder)
    trio.run(have_run_a_job, node.folder)
    port = with_metrics(node)
    with serving(node):
        assert node.mcpctl("list").returncode == 0
        until(lambda: accepts(port), "metrics are served")
        return scrape(port)


async def have_run_a_job(folder: Path) -> None:
    """Whose schedule counts, and that has succeeded."""
    job = Component("report", "localhost/report:v1", schedule="0 2 * * *")
    now = datetime.now(UTC)
    async with Registry.open(folder / "mcp.db") as registry:
        await registry.put_service(Service("nightly", NODE, (job,)), {"report": spec_hash(job)}, now)
        await registry.transact(lambda db: jobs.count_from(db, "nightly", "report", "0 2 * * *", "UTC", now))
        await registry.transact(lambda db: jobs.set_ended(db, "nightly", "report", now, 12.5))


@pytest.fixture(scope="module")
def scraped(text: str) -> Series:
    return series(text)


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every question of the rules and of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [each["query"]["query"] for each in dashboard["templating"]["list"] if "refresh" in each]
    return [rule["expr"] for rule in rules()] + panels + variables


def test_every_metric_that_rules_dashboard_and_document_name_is_there(
    scraped: Series,
) -> None:
    families = {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in scraped}
    asked = {name for text in expressions() for name in METRIC.findall(text)}
    assert len(asked) > 15
    assert asked <= scraped.keys()
    # The document has every one of ours, and no other.
    written = set(re.findall(r"`(mcp_[a-z_]+)`", DOCUMENT.read_text()))
    assert written == {each for each in families if each.startswith("mcp_")}


def test_every_label_that_they_ask_for_is_one_of_that_metric(scraped: Series) -> None:
    for text in expressions():
        for name, selectors in SELECTOR.findall(text):
            asked = set(LABEL.findall(re.sub(r'"[^"]*"', '""', selectors))) - OF_THE_TARGET
            assert asked <= set().union(*scraped[name]), text


def test_what_a_rule_counts_is_there_before_it_happens(scraped: Series) -> None:
    """A counter that begins with 1 has no increase that Prometheus could see."""
    methods = {path.rpartition("/")[2] for path in REQUIRED_ROLE}
    assert methods <= {each["method"] for each in scraped["mcp_rpc_requests_total"]}
    counted = [each for rule in rules() for each in INCREASE.findall(rule["expr"])]
    assert len(counted) == 4
    for name, selectors in counted:
        there = {frozenset(each.items()) for each in scraped[name]}
        for label, values in EQUALS.findall(selectors):
            for value in values.split("|"):
                assert {frozenset({**each, label: value}.items()) for each in scraped[name]} <= there


# ------------------------------------------------------------------------------------------------ by Prometheus itself


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Runs it with these words and this standard input, and returns its output, in which nothing is wrong."""
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool here; contrib/test installs it")

    def run(*words: str | Path, stdin: str = "") -> str:
        ran = subprocess.run(
            ["promtool", *map(str, words)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    return run


def test_promtool_finds_nothing_wrong_with_what_is_served(promtool: Callable[..., str], text: str) -> None:
    assert promtool("check", "metrics", stdin=text) == ""


def test_promtool_reads_the_rules_and_each_alert_comes_when_it_should(promtool: Callable[..., str]) -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST)


def test_each_rule_has_a_case_where_it_alerts_and_one_where_it_does_not() -> None:
    cases = [each for test in yaml.safe_load(RULES_TEST.read_text())["tests"] for each in test["alert_rule_test"]]
    found = {(each["alertname"], bool(each["exp_alerts"])) for each in cases}
    assert found == {(rule["alert"], alerts) for rule in rules() for alerts in (True, False)}


def test_the_cases_are_made_of_series_that_the_daemon_has(scraped: Series) -> None:
    written = SELECTOR.findall(RULES_TEST.read_text())
    assert {name for name, _ in written} == {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    for name, selectors in written:
        assert {label for label, _ in EQUALS.findall(selectors)} == {*scraped[name][0], "instance"}, name


# ------------------------------------------------------------------------------------------------ what it says


def test_it_says_which_mcpd_it_is_what_it_holds_and_what_it_was_asked(
    scraped: Series,
) -> None:
    assert scraped["mcp_build_info"] == [{"version": __version__, "node": NODE}]
    assert {(each["service"], each["component"]) for each in scraped["mcp_component_up"]} == {
        *(("web", "api"), ("web", "db"), ("board", "board"), ("nightly", "report"))
    }
    assert {"method": "ListServices", "status": "OK"} in scraped["mcp_rpc_requests_total"]
    assert {"call": "GET _ping"} in scraped["mcp_podman_request_duration_seconds_count"]
    assert scraped["mcp_disk_free_bytes"]


def test_without_a_section_nothing_is_served(node: Daemon) -> None:
    node.start()
    assert node.terminate() == 0
    assert "metrics" not in node.log


def test_an_address_that_is_taken_keeps_nobody_from_work_and_is_used_once_it_is_free(node: Daemon) -> None:
    port = with_metrics(node)
    with socket.socket() as other:
        other.bind((HOST, port))
        other.listen()
        node.start()
        assert node.mcpctl("list").returncode == 0
        until(lambda: "metrics are waiting for their address" in node.log)
    until(lambda: "mcp_build_info" in scrape(port) if accepts(port) else False, "metrics are served")
    assert node.terminate() == 0
    assert not accepts(port)


@pytest.mark.parametrize("address", ["0.0.0.0:9445", "[::]:9445", ":9445", "localhost:9445"])
def test_an_address_that_is_not_explicit_is_refused(node: Daemon, address: str) -> None:
    with node.config.open("a") as config:
        config.write(f'\n[metrics]\naddress = "{address}"\n')
    assert node.run_to_end() != 0
    assert 'write the one address that Prometheus reaches, say address = "127.0.0.1:9445"' in node.log


def test_a_disk_with_less_room_than_is_asked_for_is_told_of_once_and_not_again_by_the_next_daemon(node: Daemon) -> None:
    node.edit('disk_free_warning = "0%"', 'disk_free_warning = "1TiB"')

    def told() -> list[dict[str, str]]:
        found = json.loads(node.mcpctl("events", "--output", "json").stdout)
        return [each for each in found if each["kind"] == "disk"]

    node.start()
    until(told, "there is an event")
    before = told()
    assert "`mcpctl image prune" in before[0]["message"]
    assert node.terminate() == 0
    with_metrics(node)
    node.start()
    until(lambda: "metrics at" in node.log)
    assert told() == before
    alerts = json.loads(node.mcpctl("alerts", "list", "--all", "--output", "json").stdout)
    assert [each["kind"] for each in alerts["alerts"]] == ["disk"] * len(before)
