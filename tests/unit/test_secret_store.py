"""podman's secrets are set and removed, and never lost, whatever goes wrong in between."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from mcpd.errors import ConflictError, McpdError, NotFoundError, RefusedError, UnavailableError
from mcpd.runtime.api import Api, PodmanError
from mcpd.runtime.secret_store import SecretStore
from tests.support.pretended_secrets import PretendedSecrets, SecretsTransport

OLD, NEW = b"old-value", b"new-value\x00\xff"
TEXT = b"new-value"


class KilledError(BaseException):
    """mcpd is gone; nothing of it runs any more."""


@pytest.fixture
def secrets(tmp_path: Path) -> PretendedSecrets:
    return PretendedSecrets(tmp_path)


@asynccontextmanager
async def store_of(
    secrets: PretendedSecrets, gate: Callable[[httpx.Request], None] = lambda _: None
) -> AsyncIterator[SecretStore]:
    """A store, and the task that keeps it: it has looked once when it is handed over, before ``gate`` counts."""
    transport = SecretsTransport(secrets)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://podman/v4.0.0/libpod") as client,
        trio.open_nursery() as nursery,
    ):
        store = SecretStore(Api(client, Path("podman.sock")))
        nursery.start_soon(store.keep)
        await trio.testing.wait_all_tasks_blocked()
        transport.gate = gate
        yield store
        nursery.cancel_scope.cancel()


def at(number: int, act: Callable[[], None]) -> Callable[[httpx.Request], None]:
    """Does ``act`` at that boundary; raises AssertionError from the test when there are fewer."""
    count = itertools.count()

    def gate(_: httpx.Request) -> None:
        if next(count) == number:
            act()

    return gate


def die() -> None:
    raise KilledError


async def until_finished(secrets: PretendedSecrets) -> None:
    """Lets what was begun be ended by whoever keeps the store."""
    with trio.fail_after(60):
        await trio.testing.wait_all_tasks_blocked(0.1)
        while any(each.name.startswith("mcp.next.") for each in secrets.kept.values()):  # noqa: ASYNC110 (not told)
            await trio.sleep(0.5)


async def test_a_secret_is_made_replaced_and_removed(secrets: PretendedSecrets) -> None:
    async with store_of(secrets) as store:
        assert not await store.set("db", OLD, must_be_new=True)
        (first,) = (await store.listed()).values()
        assert await store.set("db", NEW, must_be_new=False)
        (second,) = (await store.listed()).values()
        assert secrets.value("db") == NEW
        assert (first.name, first.driver, second.name) == ("db", "file", "db")
        assert second.id != first.id
        assert second.set_at > first.set_at
        await store.remove("db")
        assert await store.listed() == {}
    assert not secrets.kept


async def test_one_that_must_be_new_and_is_not_stays(secrets: PretendedSecrets) -> None:
    secrets.create("db", OLD)
    async with store_of(secrets) as store:
        with pytest.raises(ConflictError, match="there is a secret db already; without --new"):
            await store.set("db", NEW, must_be_new=True)
    assert [each.value for each in secrets.kept.values()] == [OLD]


async def test_what_is_not_there_cannot_be_removed_also_when_its_name_begins_the_id_of_another(
    secrets: PretendedSecrets,
) -> None:
    number = secrets.create("db", OLD)
    async with store_of(secrets) as store:
        with pytest.raises(NotFoundError, match="there is no secret 00"):
            await store.remove(number[:2])
        assert not await store.set(number[:2], NEW, must_be_new=True)
        await store.remove(number[:2])
    assert secrets.value("db") == OLD


async def test_one_that_is_removed_at_the_same_moment_takes_no_other_with_it(secrets: PretendedSecrets) -> None:
    number = secrets.create("db", OLD)
    secrets.create(number[:2], OLD)

    def come_first(request: httpx.Request) -> None:
        found = secrets.named(number[:2])
        if request.method == "DELETE" and found:
            del secrets.kept[found.id]

    async with store_of(secrets, come_first) as store:
        await store.remove(number[:2])
    assert [each.name for each in secrets.kept.values()] == ["db"]


async def test_a_value_that_podman_refuses_leaves_the_old_one(secrets: PretendedSecrets) -> None:
    secrets.create("db", OLD)
    async with store_of(secrets) as store:
        with pytest.raises(PodmanError, match="larger than 0"):
            await store.set("db", b"", must_be_new=False)
    assert [each.value for each in secrets.kept.values()] == [OLD]


async def test_a_value_that_could_not_be_read_back_leaves_the_old_one() -> None:
    """Another driver than podman's for files, and bytes that are no text, which JSON cannot have."""
    secrets = PretendedSecrets()
    secrets.create("db", OLD)
    async with store_of(secrets) as store:
        with pytest.raises(RefusedError, match="replacing db could lose it"):
            await store.set("db", NEW, must_be_new=False)
        assert [each.value for each in secrets.kept.values()] == [OLD]
        assert await store.set("db", TEXT, must_be_new=False)
    assert [each.value for each in secrets.kept.values()] == [TEXT]


@pytest.mark.parametrize("has_file", [True, False], ids=["file driver", "podman shows it"])
async def test_a_kill_at_any_moment_leaves_the_old_value_or_the_new_one(
    has_file: bool,
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001 - time goes by when nothing happens
) -> None:
    outcomes = []
    for number in itertools.count():
        secrets = PretendedSecrets(tmp_path if has_file else None)
        secrets.create("db", OLD)
        async with store_of(secrets, at(number, die)) as store:
            try:
                await store.set("db", TEXT, must_be_new=False)
                break
            except KilledError:
                pass
        was_gone = secrets.named("db") is None
        async with store_of(secrets) as store:
            await until_finished(secrets)
        assert [each.name for each in secrets.kept.values()] == ["db"]
        assert secrets.value("db") in (OLD, TEXT)
        outcomes.append((was_gone, secrets.value("db")))
    assert secrets.value("db") == TEXT, "without a kill it is set"
    assert {value for _, value in outcomes} == {OLD, TEXT}
    assert (True, TEXT) in outcomes, "a kill in between was tried"


@pytest.mark.parametrize("kind", ["refuses", "is gone"])
async def test_a_podman_that_fails_at_any_moment_leaves_the_old_value_or_the_new_one(
    kind: str,
    secrets: PretendedSecrets,
    autojump_clock: MockClock,  # noqa: ARG001 - time goes by when nothing happens
) -> None:
    def fail() -> None:
        raise httpx.ConnectError("refused") if kind == "is gone" else httpx.ReadTimeout("")

    value, failures = OLD, 0
    for number in itertools.count():
        secrets.kept.clear()
        secrets.create("db", OLD)
        async with store_of(secrets, at(number, fail)) as store:
            try:
                await store.set("db", NEW, must_be_new=False)
                break
            except UnavailableError:
                failures += 1
            await until_finished(secrets)
            assert [each.name for each in secrets.kept.values()] == ["db"]
            assert secrets.value("db") in (OLD, NEW)
            value = secrets.value("db") or b""
            # And the next one is a change like any other.
            assert await store.set("db", b"third", must_be_new=False)
            assert [(each.name, each.value) for each in secrets.kept.values()] == [("db", b"third")]
    assert failures > 8
    assert value == NEW, "the last failure came after it was set"


async def test_what_a_killed_daemon_left_is_ended_by_the_next_change_too(secrets: PretendedSecrets) -> None:
    async with store_of(secrets) as store:
        secrets.create("mcp.next.db", b"second")
        assert "mcp.next.db" not in await store.listed()
        assert await store.set("db", b"third", must_be_new=False), "the second value counts"
        assert [(each.name, each.value) for each in secrets.kept.values()] == [("db", b"third")]
        secrets.create("mcp.next.db", b"fourth")
        await store.remove("db")
    assert not secrets.kept


async def test_changes_of_one_secret_come_one_after_the_other(secrets: PretendedSecrets) -> None:
    async with store_of(secrets) as store, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(lambda value: store.set("db", value, must_be_new=False), b"%d" % number)
    (kept,) = secrets.kept.values()
    assert kept.name == "db"
    assert not store._locks


async def test_a_change_that_is_cancelled_goes_on_to_its_end(secrets: PretendedSecrets) -> None:
    secrets.create("db", OLD)
    scope = trio.CancelScope()

    def hang_up(request: httpx.Request) -> None:
        if request.method == "DELETE":
            scope.cancel()

    async with store_of(secrets, hang_up) as store:
        with scope:
            await store.set("db", NEW, must_be_new=False)
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert [(each.name, each.value) for each in secrets.kept.values()] == [("db", NEW)]


async def test_what_fails_while_a_secret_is_replaced_is_done_again(secrets: PretendedSecrets) -> None:
    """A container that needs it, and is started just then."""
    secrets.create("db", OLD)
    tries: list[bytes | None] = []

    async def start() -> str:
        await trio.lowlevel.checkpoint()
        tries.append(secrets.value("db"))
        if tries[-1] is None:
            raise PodmanError('no secret with name or id "db": no such secret', 500)
        return "started"

    async with trio.open_nursery() as nursery:
        started: list[str] = []

        async def begin() -> None:
            started.append(await store.despite_replacement(start))

        def gate(request: httpx.Request) -> None:
            if request.method == "DELETE" and secrets.named("db") is None and not tries:
                nursery.start_soon(begin)

        async with store_of(secrets, gate) as store:
            await store.set("db", NEW, must_be_new=False)
            await trio.testing.wait_all_tasks_blocked()
    assert started == ["started"]
    assert tries[-1] == NEW


async def test_what_fails_otherwise_fails_once(secrets: PretendedSecrets) -> None:
    tries = []

    async def start() -> None:
        tries.append(1)
        raise PodmanError("no such image", 404)

    async with store_of(secrets) as store:
        with pytest.raises(McpdError, match="no such image"):
            await store.despite_replacement(start)
    assert tries == [1]


async def test_a_value_that_cannot_be_read_for_a_moment_is_not_thrown_away(
    secrets: PretendedSecrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpd.runtime.secret_store._RETRY_S", 0.05)
    # A daemon was killed in between, and podman is just writing another secret.
    secrets.create("mcp.next.db", NEW)
    secrets.create("mcp.next.other", NEW)
    file = tmp_path / "secretsdata.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    async with store_of(secrets):
        # Until it has been looked at, in a thread.
        with trio.fail_after(60):
            while not secrets.asked_for_values:  # noqa: ASYNC110 (not told)
                await trio.sleep(0.01)
        file.write_text(whole)
        await until_finished(secrets)
    assert (secrets.value("db"), secrets.value("other")) == (NEW, NEW)


async def test_a_value_that_cannot_be_read_stands_in_the_way_of_no_other(
    secrets: PretendedSecrets, tmp_path: Path
) -> None:
    secrets.create("mcp.next.db", NEW)
    secrets.create("mcp.next.gone", NEW)
    (tmp_path / "secretsdata.json").write_text("")
    async with store_of(secrets) as store:
        await store.remove("gone")
        assert await store.set("db", b"third", must_be_new=False)
    assert [(each.name, each.value) for each in secrets.kept.values()] == [("db", b"third")]
