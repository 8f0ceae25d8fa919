"""Tokens of MCIAS: who is let in, what is remembered and for how long, and a server that fails in every way."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

from mcpd.errors import ConfigError, ForbiddenError, McpdError, UnauthenticatedError, UnavailableError
from mcpd.identity import mcias
from mcpd.identity.mcias import CACHE_S, MOST_AT_ONCE, RENEW_S, Mcias, holder_in
from mcpd.model import Caller, Role
from mcpd.setup import pki
from tests.support import mcias_process
from tests.support.builders import NOW
from tests.support.waiting import until

VALIDATE = "/v1/token/validate"
SERVER = "https://mcias.example.net:8443"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mcias_process.Mcias]:
    with mcias_process.Mcias(tmp_path_factory.mktemp("mcias")) as started:
        started.account("operator", "admin", "editor")
        started.account("board", "viewer")
        started.account("both", "viewer", "admin")
        started.account("writer", "editor", "Admin")
        started.account("nobody")
        yield started


@pytest.fixture
def server(process: mcias_process.Mcias) -> mcias_process.Mcias:
    process.mood()
    process.start()
    return process


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def asked(server: mcias_process.Mcias, clock: Clock) -> AsyncIterator[Mcias]:
    async with Mcias.connect(server.url, server.ca, clock) as connected:
        yield connected


def now() -> datetime:
    return datetime.now(UTC)


# -- who is let in


@pytest.mark.parametrize(("username", "role"), [("operator", Role.ADMIN), ("board", Role.VIEWER), ("both", Role.ADMIN)])
async def test_a_user_is_let_in_by_name_with_the_highest_role(
    server: mcias_process.Mcias, asked: Mcias, username: str, role: Role
) -> None:
    caller = await asked.caller(server.token(username), now())
    assert (caller.name, caller.role) == (username, role)
    assert caller.expires_at is not None
    assert timedelta(minutes=59) < caller.expires_at - now() <= timedelta(hours=1)


@pytest.mark.parametrize(("username", "shown"), [("writer", "'editor', 'Admin'"), ("nobody", "it has none")])
async def test_a_user_without_a_role_of_ours_is_refused_by_name(
    server: mcias_process.Mcias, asked: Mcias, username: str, shown: str
) -> None:
    token = server.token(username)
    with pytest.raises(ForbiddenError) as refused:
        await asked.caller(token, now())
    assert username in str(refused.value)
    assert shown in str(refused.value)
    assert asked.known(token, now()) is None


@pytest.mark.parametrize("token", ["", "x", "mcp_" + "x" * 43, "a.b.c", "ü", '"}'])
async def test_a_string_that_is_no_token_is_refused(asked: Mcias, token: str) -> None:
    with pytest.raises(UnauthenticatedError, match="mcpctl login"):
        await asked.caller(token, now())
    assert asked.known(token, now()) is None


async def test_a_token_that_was_logged_out_is_refused(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    server.logout(token)
    with pytest.raises(UnauthenticatedError):
        await asked.caller(token, now())


# -- what is remembered


async def test_what_was_asked_is_known_for_the_cache_time_and_no_longer(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    assert asked.known(token, now()) is None
    before = server.requests(VALIDATE)
    caller = await asked.caller(token, now())
    clock.seconds += CACHE_S - 0.1
    assert asked.known(token, now()) == caller
    assert await asked.caller(token, now()) == caller
    assert server.requests(VALIDATE) == before + 1
    clock.seconds += 0.1
    assert asked.known(token, now()) is None
    assert await asked.caller(token, now()) == caller
    assert server.requests(VALIDATE) == before + 2


def test_the_cache_time_is_what_the_design_allows() -> None:
    assert CACHE_S <= 30


async def test_a_revoked_token_stops_working_when_the_cache_time_is_over(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    await asked.caller(token, now())
    server.logout(token)
    clock.seconds += CACHE_S
    assert asked.known(token, now()) is None
    with pytest.raises(UnauthenticatedError):
        await asked.caller(token, now())


async def test_for_a_call_that_goes_on_mcias_is_asked_early(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    before = server.requests(VALIDATE)
    clock.seconds += RENEW_S - 0.1
    assert await asked.again(token, now()) == caller
    assert server.requests(VALIDATE) == before
    clock.seconds += 0.1
    assert await asked.again(token, now()) == caller
    assert server.requests(VALIDATE) == before + 1
    server.logout(token)
    clock.seconds += RENEW_S
    with pytest.raises(UnauthenticatedError):
        await asked.again(token, now())
    # What is known to be revoked is not believed for the rest of the cache time.
    assert asked.known(token, now()) is None


async def test_a_call_goes_on_while_mcias_is_down_and_only_for_the_cache_time(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    server.stop()
    clock.seconds += CACHE_S - 0.1
    assert await asked.again(token, now()) == caller
    clock.seconds += 0.1
    with pytest.raises(UnavailableError):
        await asked.again(token, now())


async def test_nothing_is_remembered_past_the_tokens_own_end(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    assert caller.expires_at is not None
    assert asked.known(token, caller.expires_at - timedelta(seconds=1)) == caller
    assert asked.known(token, caller.expires_at) is None


async def test_an_answer_is_as_old_as_its_question(server: mcias_process.Mcias, asked: Mcias, clock: Clock) -> None:
    token = server.token("operator")
    server.mood("slow 0.3")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.caller, token, now())
        await trio.sleep(0.1)
        clock.seconds += CACHE_S
    assert asked.known(token, now()) is None


async def test_what_failed_is_asked_again(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    server.mood("500")
    with pytest.raises(UnavailableError):
        await asked.caller(token, now())
    assert asked.known(token, now()) is None
    server.mood()
    assert (await asked.caller(token, now())).name == "operator"


async def test_a_known_token_works_while_mcias_is_down_and_only_for_the_cache_time(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    server.stop()
    assert asked.known(token, now()) == caller
    clock.seconds += CACHE_S
    with pytest.raises(UnavailableError):
        await asked.caller(token, now())


async def test_of_too_many_tokens_the_oldest_gives_way(
    server: mcias_process.Mcias, asked: Mcias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcias, "MOST_CACHED", 2)
    tokens = [server.token("operator") for _ in range(3)]
    for token in tokens:
        await asked.caller(token, now())
    assert [asked.known(token, now()) is not None for token in tokens] == [False, True, True]


async def test_no_token_stays_in_memory(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    await asked.caller(token, now())
    assert asked.known(token, now()) is not None
    assert token not in repr(vars(asked))


# -- many at once


async def test_fifty_who_ask_for_one_token_at_once_make_one_request(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    server.mood("slow 0.2")
    before, callers = server.requests(VALIDATE), []

    async def ask() -> None:
        callers.append(await asked.caller(token, now()))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert [each.name for each in callers] == ["operator"] * 50
    assert server.requests(VALIDATE) == before + 1


async def test_fifty_who_ask_for_one_bad_token_at_once_share_the_refusal(
    server: mcias_process.Mcias, asked: Mcias
) -> None:
    server.mood("slow 0.2")
    before, refusals = server.requests(VALIDATE), []

    async def ask() -> None:
        with pytest.raises(UnauthenticatedError) as refused:
            await asked.caller("x", now())
        refusals.append(refused.value)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert len({id(each) for each in refusals}) == 50, "one error object, raised in many tasks, collects tracebacks"
    assert server.requests(VALIDATE) == before + 1


@pytest.mark.parametrize("leaves", ["the first", "another"])
async def test_who_stops_waiting_takes_nothing_from_the_others(
    server: mcias_process.Mcias, asked: Mcias, leaves: str
) -> None:
    token = server.token("operator")
    server.mood("slow 0.3")
    before, callers = server.requests(VALIDATE), []

    async def ask() -> None:
        callers.append(await asked.caller(token, now()))

    async def leave() -> None:
        with trio.move_on_after(0.1):
            await ask()

    with trio.fail_after(3):
        async with trio.open_nursery() as nursery:
            for task in (leave, ask) if leaves == "the first" else (ask, leave):
                nursery.start_soon(task)
                await trio.testing.wait_all_tasks_blocked()
    assert [each.name for each in callers] == ["operator"]
    assert server.requests(VALIDATE) == before + 1


async def test_never_are_too_many_requests_under_way(server: mcias_process.Mcias, asked: Mcias) -> None:
    server.mood("slow 30")
    before = server.requests(VALIDATE)
    async with trio.open_nursery() as crowd:
        for number in range(3 * MOST_AT_ONCE):
            crowd.start_soon(asked.caller, f"token {number}", NOW)
        await trio.to_thread.run_sync(until, lambda: server.requests(VALIDATE) >= before + MOST_AT_ONCE)
        await trio.sleep(0.3)
        assert server.requests(VALIDATE) == before + MOST_AT_ONCE
        crowd.cancel_scope.cancel()


async def test_who_waits_at_the_shutdown_is_told_so(server: mcias_process.Mcias) -> None:
    server.mood("slow 5")

    async def ask(connected: Mcias) -> None:
        with pytest.raises(UnavailableError, match="shutting down"):
            await connected.caller("x", now())

    async with trio.open_nursery() as outer:
        async with Mcias.connect(server.url, server.ca) as connected:
            outer.start_soon(ask, connected)
            await trio.sleep(0.1)


# -- a server that fails


async def failure(asked: Mcias, token: str) -> McpdError:
    """How asking ends, which is soon, and never with somebody let in."""
    with trio.fail_after(mcias.DEADLINE_S + 3), pytest.raises(McpdError) as failed:
        await asked.caller(token, now())
    assert token not in str(failed.value)
    assert asked.known(token, now()) is None
    return failed.value


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("500", "HTTP status 500"),
        ("nonsense", "malformed"),
        ("lying", "Expected `bool`, got `str`"),
        ("huge", "more than 65536 bytes"),
        ("reset", "disconnected"),
    ],
)
async def test_a_server_that_misbehaves_lets_nobody_in(
    server: mcias_process.Mcias, asked: Mcias, mood: str, reason: str
) -> None:
    token = server.token("operator")
    server.mood(mood)
    failed = await failure(asked, token)
    assert type(failed) is UnavailableError
    assert reason in str(failed)
    assert server.url in str(failed)


async def test_a_server_that_is_slow_is_given_up(
    server: mcias_process.Mcias, asked: Mcias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcias, "DEADLINE_S", 1.0)
    token = server.token("operator")
    server.mood("slow 60")
    failed = await failure(asked, token)
    assert type(failed) is UnavailableError
    assert "has not answered within 1 s" in str(failed)
    server.mood()
    assert (await asked.caller(token, now())).name == "operator"


async def test_a_server_that_is_down_lets_nobody_in_and_is_found_again(
    server: mcias_process.Mcias, asked: Mcias
) -> None:
    token = server.token("operator")
    server.stop()
    failed = await failure(asked, token)
    assert type(failed) is UnavailableError
    assert "failed" in str(failed)
    server.start()
    assert (await asked.caller(token, now())).name == "operator"


async def test_a_server_that_nobody_we_trust_vouches_for_is_shown_no_token(
    server: mcias_process.Mcias, tmp_path: Path
) -> None:
    token = server.token("operator")
    (tmp_path / "other.pem").write_bytes(pki.make_authority("other").pem.certificate)
    before = server.requests(VALIDATE)
    for ca in (tmp_path / "other.pem", None):
        async with Mcias.connect(server.url, ca) as suspicious:
            failed = await failure(suspicious, token)
        assert type(failed) is UnavailableError
        assert "certificate verify failed" in str(failed)
    assert server.requests(VALIDATE) == before


async def test_another_ca_counts_from_the_next_question_on_and_one_that_is_none_changes_nothing(
    server: mcias_process.Mcias, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_bytes(pki.make_authority("other").pem.certificate)
    async with Mcias.connect(server.url, tmp_path / "other.pem") as mcias:
        assert type(await failure(mcias, server.token("operator"))) is UnavailableError
        mcias.trust(server.ca)
        assert (await mcias.caller(server.token("operator"), now())).name == "operator"
        with pytest.raises(ConfigError, match="cannot be read"):
            mcias.trust(tmp_path / "none.pem")
        assert (await mcias.caller(server.token("operator"), now())).name == "operator"


async def test_a_question_under_way_is_answered_though_another_ca_is_put_in_place(server: mcias_process.Mcias) -> None:
    async with Mcias.connect(server.url, server.ca) as mcias:
        server.mood("slow 1")
        try:
            names: list[str] = []

            async def ask() -> None:
                names.append((await mcias.caller(server.token("operator"), now())).name)

            before = server.requests(VALIDATE)
            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                await trio.to_thread.run_sync(until, lambda: server.requests(VALIDATE) > before)
                mcias.trust(server.ca)
            assert names == ["operator"]
        finally:
            server.mood()


async def test_a_server_of_another_name_is_shown_no_token(server: mcias_process.Mcias) -> None:
    before = server.requests(VALIDATE)
    async with Mcias.connect(server.url.replace(mcias_process.HOST, "localhost"), server.ca) as suspicious:
        assert "not valid for 'localhost'" in str(await failure(suspicious, server.token("operator")))
    assert server.requests(VALIDATE) == before


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\xff\x00", None])
async def test_a_ca_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mcias\.ca_cert: .*ca\.pem"):
        async with Mcias.connect(SERVER, path):
            pass


# -- what an answer means


def answer(**changes: object) -> bytes:
    """An answer that lets an admin in, with ``changes``; one that is ... is left out."""
    good = {
        "valid": True,
        "sub": "id-1",
        "username": "operator",
        "roles": ["admin"],
        "expires_at": "2026-03-01T13:00:00Z",
    }
    return json.dumps({key: value for key, value in (good | changes).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sub": ...},
        {"iat": 5, "tags": None},
        {"expires_at": "2026-03-01T14:00:00+01:00"},
        {"expires_at": "2026-03-01T13:00:00.000000000Z"},
    ],
)
def test_a_good_answer_names_the_caller(changes: dict[str, object]) -> None:
    expected = Caller("operator", Role.ADMIN, NOW + timedelta(hours=1))
    assert holder_in(answer(**changes), NOW, SERVER) == expected


@pytest.mark.parametrize("username", ["", ...])
def test_without_a_username_the_subject_is_the_name(username: object) -> None:
    assert holder_in(answer(username=username), NOW, SERVER).name == "id-1"


@pytest.mark.parametrize("rest", [{}, {"expires_at": ""}, {"roles": None, "sub": 7}])
def test_valid_false_is_enough_to_refuse(rest: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError, match="mcpctl login"):
        holder_in(answer(valid=False, **rest), NOW, SERVER)


@pytest.mark.parametrize("roles", [[], None, ..., ["ADMIN"], ["administrator"], ["admin "]])
def test_no_other_role_is_taken_for_one_of_ours(roles: object) -> None:
    with pytest.raises(ForbiddenError, match="operator has no access here"):
        holder_in(answer(roles=roles), NOW, SERVER)


@pytest.mark.parametrize("expires_at", ["2026-03-01T12:00:00Z", "2026-03-01T11:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_token_that_has_ended_is_refused_whatever_the_server_says(expires_at: str) -> None:
    with pytest.raises(UnauthenticatedError, match="operator has expired"):
        holder_in(answer(expires_at=expires_at), NOW, SERVER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"true",
        b"{}",
        b"\xff",
        answer()[:-1],
        answer(valid=...),
        answer(valid=None),
        answer(valid=1),
        answer(valid="true"),
        answer(expires_at=...),
        answer(expires_at=None),
        answer(expires_at=""),
        answer(expires_at="tomorrow"),
        answer(expires_at="2026-03-01T13:00:00"),
        answer(expires_at=1772370000),
        answer(roles="admin"),
        answer(roles={"admin": True}),
        answer(roles=["admin", 1]),
        answer(username=5),
        answer(username="", sub=""),
        answer(username="a\nb"),
        answer(username="\x1b[31m"),
        answer(username="x" * 257),
    ],
)
def test_an_answer_of_another_shape_lets_nobody_in(body: bytes) -> None:
    with pytest.raises(UnavailableError, match=r"mcias\.example\.net:8443"):
        holder_in(body, NOW, SERVER)
