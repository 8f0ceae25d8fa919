"""Which containers have another value of a secret than podman, and what a plan makes of that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from mcpd.changes.plan import Action, DeployPlan, check_holds, plan_deploy
from mcpd.changes.secret_use import SecretUse, changed, told
from mcpd.errors import BusyError
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.inspected import Details
from mcpd.runtime.program import secrets_of
from mcpd.runtime.secret_store import StoredSecret
from protos.parts import Secret, Update
from protos.spec import Component
from tests.support.builders import NOW, component, container, recorded_service, service

SECOND = timedelta(seconds=1)
AS_FILE = component(secrets=("key",))
AS_VARIABLE = component(secrets=(Secret("key", env="KEY"),))


def stored(number: str = "id-2", at: datetime = NOW, name: str = "key") -> StoredSecret:
    return StoredSecret(number, name, "file", at, at)


def made(
    *,
    given: str | None = None,
    started: datetime | None = NOW + SECOND,
    created: datetime = NOW + SECOND,
    status: str = "running",
    label: str = "",
) -> Inspected:
    state = {"Status": status, "StartedAt": started.isoformat() if started else "0001-01-01T00:00:00Z"}
    labels = {"mcp.secret-ids": label} if label else None
    config: dict[str, Any] = {"Labels": labels, "Secrets": [{"Name": "key", "ID": given}] if given else None}
    found = {"Id": "c1", "Name": "web-api", "ImageName": "x", "Created": created.isoformat()}
    return msgspec.convert({**found, "State": state, "Config": config}, type=Inspected)


EARLIER, LATER = NOW - SECOND, NOW + SECOND


@pytest.mark.parametrize(
    ("of", "inspected", "is_changed"),
    [
        # A file was copied when the container was made: its id tells, whatever the clock says.
        (AS_FILE, made(given="id-2", created=EARLIER), False),
        (AS_FILE, made(given="id-1", created=LATER), True),
        (AS_FILE, made(given="id-1", status="exited"), True),
        # A podman that tells no id.
        (AS_FILE, made(created=EARLIER), True),
        (AS_FILE, made(created=LATER), False),
        # A variable was read when the container was started, however old that is.
        (AS_VARIABLE, made(created=EARLIER, started=LATER), False),
        (AS_VARIABLE, made(created=EARLIER, started=EARLIER), True),
        (AS_VARIABLE, made(started=EARLIER, status="paused"), True),
        # The clock was set back after the secret was set, and the container was made.
        (AS_VARIABLE, made(started=EARLIER, label="key=id-2"), False),
        (AS_VARIABLE, made(started=EARLIER, label="key=id-1"), True),
        (AS_VARIABLE, made(started=LATER, label="key=id-1"), False),
        (AS_VARIABLE, made(started=EARLIER, label="nonsense,,key"), True),
        # What has ended reads it when it starts again; what ran to its end will not.
        (AS_VARIABLE, made(started=EARLIER, status="exited"), False),
        (AS_VARIABLE, made(started=None, status="created"), False),
        (msgspec.structs.replace(AS_VARIABLE, oneshot=True), made(started=EARLIER, status="exited"), True),
        # Both: one of them is enough.
        (component(secrets=("key", Secret("key", env="KEY"))), made(given="id-1"), True),
        (component(secrets=("other",)), made(given="id-1"), False),
        (component(), made(given="id-1"), False),
    ],
)
def test_another_value_than_podmans(of: Component, inspected: Inspected, is_changed: bool) -> None:
    assert changed(of, inspected, {"key": stored()}) == ((stored(),) if is_changed else ())


def test_a_secret_that_is_not_there_has_not_changed() -> None:
    assert changed(AS_FILE, made(given="id-1"), {}) == ()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7300, "2h"), (86399, "23h"), (86400, "1d"), (864000, "10d")],
)
def test_when_it_changed_is_said_in_the_largest_unit(seconds: int, words: str) -> None:
    secrets = [stored(name="db-password")]
    assert told(secrets, NOW + seconds * SECOND) == f"secret db-password changed {words} ago"


def test_each_secret_is_named() -> None:
    secrets = [stored(name="a"), stored(name="b", at=NOW - 60 * SECOND)]
    assert told(secrets, NOW) == "secret a changed 0s ago, secret b changed 1m ago"


# -- the plan


USE = SecretUse({"key": "id-2"}, {"api": "secret key changed 2h ago"})


def planned(*, secrets: SecretUse = USE, of: Component = AS_FILE, **options: Any) -> DeployPlan:
    return plan_deploy(service(of, component("other")), {"api", "other"}, [container(of)], secrets=secrets, **options)


def test_a_container_with_another_value_is_replaced_and_others_are_not() -> None:
    api, other = planned().components
    assert (api.action, api.reason) == (Action.REPLACE, "secret key changed 2h ago")
    assert other.action is Action.CREATE
    api, _ = planned(secrets=SecretUse({"key": "id-1"})).components
    assert api.action is Action.NONE


def test_what_starts_first_does_so_for_a_secret_too() -> None:
    api, _ = planned(of=component(secrets=("key",), update=Update.START_FIRST)).components
    assert api.starts_first
    assert api.reason == "secret key changed 2h ago; the new one starts first"


def test_a_plan_holds_only_while_its_secrets_stay() -> None:
    then = planned()
    assert then.id == planned().id
    # How long ago it was is no change.
    check_holds(then.id, planned(secrets=SecretUse(USE.ids, {"api": "secret key changed 3h ago"})))
    for ids in ({"key": "id-3"}, {"key": ""}):
        with pytest.raises(BusyError, match="the containers or secrets on the node changed since"):
            check_holds(then.id, planned(secrets=SecretUse(ids, USE.changed)))


def test_a_plan_of_what_is_recorded_says_no_field_of_it() -> None:
    api, _ = planned(recorded=recorded_service()).components
    assert api.changes == ()


# -- whom podman tells of


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"Secrets": [{"Name": "key"}]}, {"key"}),
        ({"CreateCommand": ["podman", "run", "--secret", "key,type=env", "--secret=source=b", "x"]}, {"key", "b"}),
        ({"CreateCommand": ["podman", "run", "--secret", "type=env,source=key", "x"]}, {"key"}),
        ({"CreateCommand": ["podman", "run", "--secret", "key,nonsense=1", "x"]}, {"key"}),
        ({"Labels": {"mcp.secret-ids": "key=id-1"}}, {"key"}),
        ({}, set()),
    ],
)
def test_the_secrets_of_a_container(config: dict[str, Any], names: set[str]) -> None:
    plain = {"Id": "c1", "Name": "x", "Image": "0", "ImageName": "x", "Path": "/x", "Args": [], "HostConfig": {}}
    assert secrets_of(msgspec.convert({**plain, "Config": config}, type=Details)) == names
