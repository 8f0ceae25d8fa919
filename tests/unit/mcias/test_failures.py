"""A MCIAS that fails in every way, and one that is not the one we trust."""

from pathlib import Path

import pytest
import trio
import trio.testing

from mcpd.errors import ConfigError, McpdError, UnavailableError
from mcpd.identity import mcias
from mcpd.identity.mcias import Mcias
from mcpd.setup import pki
from tests.support import mcias_process
from tests.support.mcias_client import SERVER, VALIDATE, now
from tests.support.waiting import until


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
