"""Kubernetes exports, read by kubectl: every key is one that Kubernetes has, with a value of its type there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings

from mcpctl.definitions.exporting import kube
from protos.spec import Service
from tests.support.builders import component, service
from tests.support.every_key import example, variations
from tests.support.exports import FULL, HOSTILE
from tests.support.strategies import services
from tests.support.waiting import DEADLINE_S

# An environment variable that no definition here has.
ADDED = "ADDED_BY_KUBECTL"
AMOUNTS = {"cpu", "memory", "sizeLimit"}


@pytest.fixture(autouse=True, scope="module")
def _needed() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl here; contrib/test installs it")


def kubectl(*words: str, stdin: str = "") -> list[dict[str, Any]]:
    """The objects that it prints. No server is asked, even if one is configured."""
    ran = subprocess.run(
        ["kubectl", "--kubeconfig=/dev/null", *words, "--output", "json"],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return list(objects(ran.stdout))


def objects(text: str) -> Iterator[dict[str, Any]]:
    """One JSON object after the other."""
    decoder = json.JSONDecoder()
    while text:
        found, end = decoder.raw_decode(text)
        yield found
        text = text[end:].lstrip()


def said(value: Any) -> Any:
    """Without what says nothing: Kubernetes' own types leave out what is empty, 0 or false. 2000m is 2."""
    if isinstance(value, dict):
        pruned = {key: amount(each) if key in AMOUNTS else said(each) for key, each in value.items()}
        return {key: each for key, each in pruned.items() if each not in (None, "", 0, {}, [])}
    return [said(each) for each in value] if isinstance(value, list) else value


def amount(text: str) -> Decimal:
    """Of a quantity, with the suffixes that kubectl writes (kubernetes.io, "Quantity")."""
    number, suffix = re.findall(r"^([0-9.]+)(\D*)$", text)[0]
    return Decimal(number).scaleb({"m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}[suffix])


def pods_of(exported: Iterable[Service]) -> list[str]:
    """The documents of their Pods and CronJobs, as they are in the files."""
    documents = [each for service in exported for each in kube.export(service).files[0].text.split("\n---\n")]
    return [each for each in documents if yaml.safe_load(each)["kind"] in ("Pod", "CronJob")]


def spec_of(read: dict[str, Any]) -> dict[str, Any]:
    """Of the Pod, or of the Pods that a CronJob makes."""
    spec = read["spec"]["jobTemplate"]["spec"]["template"]["spec"] if read["kind"] == "CronJob" else read["spec"]
    assert isinstance(spec, dict)
    return spec


def check(*exported: Service) -> None:
    """`kubectl set` makes Pods of Kubernetes' own types, in which what is unknown has no place, and prints those."""
    pods = pods_of(exported)
    assert pods
    read = kubectl("set", "env", "--local", "--filename", "-", f"{ADDED}=x", stdin="\n---\n".join(pods))
    for pod in read:
        for container in spec_of(pod)["containers"]:
            assert container["env"].pop() == {"name": ADDED, "value": "x"}
    assert said(read) == said([yaml.safe_load(each) for each in pods])


def test_kubectl_reads_every_key(tmp_path: Path) -> None:
    check(example(tmp_path), FULL)


def test_kubectl_reads_each_key_alone() -> None:
    check(*(each.said for each in variations()))


def test_kubectl_reads_every_string_as_it_is() -> None:
    check(service(component(cmd=HOSTILE, env={f"A{number}": text for number, text in enumerate(HOSTILE)})))


# A program runs for each, so that making one that fails smaller would take minutes.
@settings(max_examples=10, phases=[Phase.generate])
@given(services())
def test_kubectl_reads_any_service(made: Service) -> None:
    check(made)


def test_kubectl_reads_every_job() -> None:
    often = component("often", schedule="*/5 * * * MON-FRI", timezone="Europe/Berlin", timeout=timedelta(minutes=2))
    check(service(often, component(schedule="0 2 1,15 * 7", active=False, env={"A": "b"}, labels={"a": "b"})))


def test_kubectl_makes_the_same_config_maps(tmp_path: Path) -> None:
    (file,) = kube.export(example(tmp_path)).files
    maps = [each for each in yaml.safe_load_all(file.text) if each["kind"] == "ConfigMap"]
    assert maps
    for each in maps:
        name = each["metadata"]["name"]
        ((key, content),) = each["data"].items()
        path = tmp_path / "content"
        path.write_text(content)
        (made,) = kubectl("create", "configmap", name, "--dry-run=client", f"--from-file={key}={path}")
        assert said(made) == each
