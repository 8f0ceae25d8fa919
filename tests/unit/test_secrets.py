"""Secrets with who uses them: listed, set, and removed when nobody does; and what the RPCs refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio

from mcpd.changes import secrets as changes
from mcpd.changes.node import Node
from mcpd.errors import ConflictError, InvalidRequestError, NotFoundError, RefusedError, RegistryError
from mcpd.model import LABEL_RUN, LABEL_RUN_OF, Caller, Container, Role
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.rpc.call_log import target_of
from mcpd.rpc.secrets import SecretMethods
from mcpd.runtime.api import Api, NoSuchError
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.inspected import Details
from mcpd.runtime.podman import Podman
from mcpd.runtime.secret_store import SecretStore
from monitor.model import Observed, Sighting
from protos.fingerprint import spec_hash
from protos.grammar import MAX_SECRET_NAME
from protos.mcp import v1 as wire
from protos.parts import MAX_SECRET_BYTES, Secret
from protos.spec import Service
from tests.support.builders import NO_CONFIGS, NOW, component, container, service
from tests.support.pretended_secrets import PretendedSecrets, SecretsTransport
from tests.support.routes import no_proxy

OPS, LOOKER = Caller("ops", Role.ADMIN), Caller("looker", Role.VIEWER)
DB = component("db", secrets=("db-password",))
WEB = component("web", secrets=("db-password", Secret("web-key", env="KEY")))
PLAIN = component("plain")


class Containers:
    """podman's containers, each with the ids of its secrets that are files; and its secrets."""

    def __init__(self, secrets: SecretStore, kept: PretendedSecrets) -> None:
        self.secrets = secrets
        self.found: dict[str, Container] = {}
        self.config: dict[str, dict[str, Any]] = {}
        self._kept = kept

    def run(self, made: Container, names: Collection[str] = (), **config: Any) -> None:
        """As if it was started a moment after the secrets were set."""
        self.found[made.id] = made
        files = [{"Name": name, "ID": found.id} for name in names if (found := self._kept.named(name))]
        self.config[made.id] = {"Labels": dict(made.labels), "Secrets": files, **config}

    async def containers(self, *, service: str = "", names: Collection[str] = ()) -> tuple[Container, ...]:
        return tuple(self.found.values())

    async def inspect(self, name: str) -> Inspected:
        if name not in self.found:
            raise NoSuchError(name, 404)
        started = max((each.at for each in self._kept.kept.values()), default=NOW) - timedelta(milliseconds=1)
        state = {"Status": "running", "StartedAt": started.isoformat()}
        plain = {"Id": name, "Name": name, "ImageName": "x", "State": state, "Config": self.config[name]}
        return msgspec.convert(plain, type=Inspected)

    async def details(self, name: str) -> Details:
        plain = {"Id": name, "Name": name, "Image": "0", "ImageName": "x", "Path": "/x", "Args": [], "HostConfig": {}}
        return msgspec.convert({**plain, "Config": self.config[name]}, type=Details)


@pytest.fixture
def kept(tmp_path: Path) -> PretendedSecrets:
    (tmp_path / "store").mkdir()
    return PretendedSecrets(tmp_path / "store")


@pytest.fixture
async def node(registry: Registry, kept: PretendedSecrets) -> AsyncIterator[Node]:
    started, _ = trio.open_memory_channel[Sighting](1)
    transport = SecretsTransport(kept)
    async with httpx.AsyncClient(transport=transport, base_url="http://podman/v4.0.0/libpod") as client:
        podman = cast(Podman, Containers(SecretStore(Api(client, Path("podman.sock"))), kept))
        journal = Journal(registry)
        yield Node("rift", podman, registry, journal, started, NO_CONFIGS, no_proxy(registry, podman))


async def declare(node: Node, of: Service) -> None:
    hashes: Mapping[str, str] = {each.name: spec_hash(each) for each in of.components}
    await node.registry.put_service(of, hashes, NOW)


def podman_of(node: Node) -> Containers:
    return cast(Containers, node.podman)


async def listed(node: Node, name: str = "") -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {each.secret.name: (each.used_by, each.outdated) for each in await changes.views(node, name)}


async def test_who_declares_a_secret_uses_it_and_who_has_another_value_is_outdated(
    node: Node, kept: PretendedSecrets
) -> None:
    kept.create("db-password", b"1")
    kept.create("unused", b"1")
    await declare(node, service(DB, WEB, PLAIN))
    assert await listed(node) == {"db-password": (("web/db", "web/web"), ()), "unused": ((), ())}
    for each in (DB, WEB, PLAIN):
        podman_of(node).run(container(each), [it.name for it in each.secret_list if not it.env])
    assert await listed(node, "db-password") == {"db-password": (("web/db", "web/web"), ())}
    assert await changes.assign(node, "db-password", b"2", must_be_new=False) == (True, ("web/db", "web/web"))
    podman_of(node).run(container(DB), ["db-password"])
    assert await listed(node) == {"db-password": (("web/db", "web/web"), ("web/web",)), "unused": ((), ())}


async def test_a_first_value_outdates_nobody_and_a_new_one_those_that_run(node: Node, kept: PretendedSecrets) -> None:
    assert await changes.assign(node, "web-key", b"1", must_be_new=True) == (False, ())
    with pytest.raises(ConflictError):
        await changes.assign(node, "web-key", b"2", must_be_new=True)
    await declare(node, service(WEB))
    podman_of(node).run(container(WEB))
    assert await changes.assign(node, "web-key", b"2", must_be_new=False) == (True, ("web/web",))
    assert kept.value("web-key") == b"2"


async def test_what_is_set_is_set_whoever_cannot_be_asked_then(
    node: Node, kept: PretendedSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.create("web-key", b"1")

    async def full(_: object) -> None:
        raise RegistryError("the disk is full")

    monkeypatch.setattr(Registry, "services", full)
    assert await changes.assign(node, "web-key", b"2", must_be_new=False) == (True, ())
    assert kept.value("web-key") == b"2"


async def test_what_is_used_is_not_removed_and_its_users_are_named(node: Node, kept: PretendedSecrets) -> None:
    for name in ("db-password", "by-hand", "of-command"):
        kept.create(name, b"1")
    await declare(node, service(DB, WEB))
    with pytest.raises(RefusedError, match="db-password stays: web/db, web/web use it"):
        await changes.remove(node, "db-password")
    await node.registry.forget("web", ["db"], NOW)
    with pytest.raises(RefusedError, match="db-password stays: web/web uses it"):
        await changes.remove(node, "db-password")
    podman = podman_of(node)
    podman.run(container(name="hand", service="", id="h"), ["by-hand"])
    podman.run(
        container(name="typed", service="", id="t"),
        CreateCommand=["podman", "run", "--secret", "of-command,type=env", "x"],
    )
    with pytest.raises(RefusedError, match="by-hand stays: the container hand uses it"):
        await changes.remove(node, "by-hand")
    with pytest.raises(RefusedError, match="of-command stays: the container typed uses it"):
        await changes.remove(node, "of-command")
    one_off = {LABEL_RUN: "k3f9a2", LABEL_RUN_OF: "web/api"}
    podman.run(container(name="web-api.run-k3f9a2", service="", id="r", labels=one_off), ["by-hand"])
    with pytest.raises(RefusedError, match="by-hand stays: the container hand, the run k3f9a2 of web/api use it"):
        await changes.remove(node, "by-hand")
    podman.found.clear()
    # What a run has printed can be read for an hour, but its container never starts again.
    ended = container(name="web-api.ended-k3f9a2", service="", id="r", labels=one_off, state=Observed.EXITED)
    podman.run(ended, ["by-hand"])
    await changes.remove(node, "by-hand")
    assert {each.name for each in kept.kept.values()} == {"db-password", "of-command"}


async def test_of_many_users_some_are_named(node: Node, kept: PretendedSecrets) -> None:
    kept.create("db-password", b"1")
    await declare(node, service(*(component(f"c{number:02}", secrets=("db-password",)) for number in range(12))))
    with pytest.raises(RefusedError, match="web/c09 and 2 more use it"):
        await changes.remove(node, "db-password")


async def test_what_nobody_declares_any_more_uses_it_while_it_is_there(node: Node, kept: PretendedSecrets) -> None:
    kept.create("db-password", b"1")
    await declare(node, service(DB))
    await node.registry.ignore_services_but((), NOW)
    podman_of(node).run(container(DB))
    with pytest.raises(RefusedError, match="web/db uses it"):
        await changes.remove(node, "db-password")
    podman_of(node).found.clear()
    await changes.remove(node, "db-password")


async def test_a_secret_that_is_not_there_is_not_removed(node: Node) -> None:
    with pytest.raises(NotFoundError, match="there is no secret db-password on rift"):
        await changes.remove(node, "db-password")


# -- the RPCs


async def test_the_answers_have_no_value(node: Node, kept: PretendedSecrets) -> None:
    methods = SecretMethods(node)
    request = wire.SetSecretRequest(name="web-key", value=b"planted")
    assert await methods.set_secret(request, OPS) == wire.SetSecretResponse()
    assert request.value == b""
    assert kept.value("web-key") == b"planted"
    answer = await methods.list_secrets(wire.ListSecretsRequest(), LOOKER)
    (only,) = answer.secrets
    assert (answer.node, only.name, only.driver) == ("rift", "web-key", "file")
    assert only.updated_at == only.created_at == next(iter(kept.kept.values())).at
    assert b"planted" not in bytes(answer)
    await methods.remove_secret(wire.RemoveSecretRequest("web-key"), OPS)
    assert not kept.kept


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", b"planted", "'' is not a podman secret's name"),
        ("a/b", b"planted", "'a/b' is not a podman secret's name"),
        ("mcp.next.db", b"planted", "a name of mcpd's own"),
        ("x" * (MAX_SECRET_NAME + 1), b"planted", "has 55 characters at most"),
        ("db-", b"planted", "ends with a letter or digit"),
        ("db", b"", "the value of db is empty"),
        ("db", b"p" * (MAX_SECRET_BYTES + 1), "has 512000 bytes; podman takes 511999 at most"),
    ],
)
async def test_what_cannot_be_set_is_refused_without_asking_podman(
    node: Node, kept: PretendedSecrets, name: str, value: bytes, words: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await SecretMethods(node).set_secret(wire.SetSecretRequest(name=name, value=value), OPS)
    assert words in str(refused.value)
    assert "planted" not in str(refused.value)
    assert not kept.kept


async def test_the_largest_value_and_the_longest_name_are_taken(node: Node, kept: PretendedSecrets) -> None:
    for _ in range(2):
        request = wire.SetSecretRequest(name="x" * MAX_SECRET_NAME, value=bytes([7]) * MAX_SECRET_BYTES)
        await SecretMethods(node).set_secret(request, OPS)
    assert len(kept.value("x" * MAX_SECRET_NAME) or b"") == MAX_SECRET_BYTES


@pytest.mark.parametrize("request_of", [wire.ListSecretsRequest, wire.RemoveSecretRequest])
async def test_a_temporary_name_is_nobodys(node: Node, kept: PretendedSecrets, request_of: Any) -> None:
    kept.create("mcp.next.db", b"planted")
    methods = {wire.ListSecretsRequest: "list_secrets", wire.RemoveSecretRequest: "remove_secret"}
    with pytest.raises(InvalidRequestError, match="mcpd's own"):
        await getattr(SecretMethods(node), methods[request_of])(request_of(name="mcp.next.db"), OPS)
    assert await listed(node) == {}


@pytest.mark.parametrize("request_of", [wire.ListSecretsRequest, wire.SetSecretRequest, wire.RemoveSecretRequest])
def test_the_audit_names_the_secret_and_nothing_that_is_no_name(request_of: Any) -> None:
    assert target_of(request_of(name="db-password")) == "secret db-password"
    assert target_of(request_of(name="hunter 2!")) == "secret"
    assert len(target_of(request_of(name="x" * 500))) == 120
