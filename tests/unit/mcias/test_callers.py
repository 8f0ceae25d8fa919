"""Tokens of MCIAS: who is let in, and what an answer of the server means."""

import json
from datetime import timedelta

import pytest

from mcpd.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from mcpd.identity.mcias import Mcias, holder_in
from mcpd.model import Caller, Role
from tests.support import mcias_process
from tests.support.builders import NOW
from tests.support.mcias_client import SERVER, now

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
