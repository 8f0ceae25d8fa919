"""Mode mcias: a real mcpd asks a real MCIAS server over TLS, and lets nobody in whom it cannot ask about."""

import signal
import time
from collections.abc import Iterator

import grpc
import pytest

from mcpd.identity.mcias import DEADLINE_S
from protos.mcp.v1 import WhoAmIResponse
from tests.support.calls import CALL_S, LIST_SERVICES, Metadata, status_of
from tests.support.mcias_process import Mcias
from tests.support.waiting import until

from .conftest import Daemon, copy_daemon, serving

AGENT = "/mcp.v1.AgentService/"
LIST_AUDIT = AGENT + "ListAudit"
VALIDATE = "/v1/token/validate"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mcias]:
    with Mcias(tmp_path_factory.mktemp("mcias")) as started:
        started.account("operator", "admin")
        started.account("board", "viewer")
        started.account("writer", "editor")
        yield started


@pytest.fixture
def mcias(process: Mcias) -> Mcias:
    process.mood()
    process.start()
    return process


def use_mcias(daemon: Daemon, *lines: str) -> None:
    daemon.edit('mode = "tokens"', 'mode = "mcias" ')
    daemon.edit("[database]", "\n".join(["[mcias]", *lines, "[database]"]))


@pytest.fixture(scope="module")
def guarded(template: Daemon, process: Mcias, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that asks MCIAS."""
    made = copy_daemon(template, tmp_path_factory.mktemp("guarded") / "node")
    use_mcias(made, f'server_url = "{process.url}"', f'ca_cert = "{process.ca}"')
    with serving(made):
        yield made


@pytest.fixture(scope="module")
def guarded_channel(guarded: Daemon) -> Iterator[grpc.Channel]:
    with guarded.channel() as opened:
        yield opened


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def test_an_admin_may_do_what_an_admin_may(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    metadata = bearer(mcias.token("operator"))
    for path in (LIST_SERVICES, LIST_AUDIT):
        assert status_of(guarded_channel, path, metadata) == (grpc.StatusCode.OK, "")


def test_a_viewer_may_look_and_no_more(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    metadata = bearer(mcias.token("board"))
    assert status_of(guarded_channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.OK
    status, sentence = status_of(guarded_channel, LIST_AUDIT, metadata)
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "board is a viewer" in sentence


def test_a_user_without_a_role_here_may_do_nothing(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    status, sentence = status_of(guarded_channel, LIST_SERVICES, bearer(mcias.token("writer")))
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "writer has no access here" in sentence


@pytest.mark.usefixtures("mcias")
def test_a_token_that_mcias_does_not_know_lets_nobody_in(guarded: Daemon, guarded_channel: grpc.Channel) -> None:
    for token in ("x", guarded.admin_token):
        status, sentence = status_of(guarded_channel, LIST_SERVICES, bearer(token))
        assert status is grpc.StatusCode.UNAUTHENTICATED
        assert "mcpctl login" in sentence


def test_a_token_that_was_logged_out_lets_nobody_in(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    token = mcias.token("operator")
    mcias.logout(token)
    assert status_of(guarded_channel, LIST_SERVICES, bearer(token))[0] is grpc.StatusCode.UNAUTHENTICATED


def test_the_caller_is_told_who_they_are_and_until_when(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    metadata = bearer(mcias.token("board"))
    answer = WhoAmIResponse().parse(guarded_channel.unary_unary(AGENT + "WhoAmI")(b"", metadata=metadata, timeout=5))
    assert (answer.name, answer.role) == ("board", "viewer")
    assert answer.expires_at is not None
    assert 3500 < answer.expires_at.timestamp() - time.time() <= 3600


def test_one_token_is_asked_about_once(mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    metadata = bearer(mcias.token("operator"))
    before = mcias.requests(VALIDATE)
    for _ in range(20):
        assert status_of(guarded_channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.OK
    assert mcias.requests(VALIDATE) == before + 1


@pytest.mark.parametrize("mood", ["500", "nonsense", "lying", "huge", "reset", "slow 60", "down"])
def test_while_mcias_fails_nobody_new_is_let_in_and_soon_told_so(
    mcias: Mcias, guarded_channel: grpc.Channel, mood: str
) -> None:
    known, new = bearer(mcias.token("operator")), bearer(mcias.token("operator"))
    assert status_of(guarded_channel, LIST_SERVICES, known)[0] is grpc.StatusCode.OK
    mcias.stop() if mood == "down" else mcias.mood(mood)
    started = time.monotonic()
    status, sentence = status_of(guarded_channel, LIST_SERVICES, new)
    assert status is grpc.StatusCode.UNAVAILABLE
    assert mcias.url in sentence
    assert time.monotonic() - started < DEADLINE_S + 3 < CALL_S
    assert status_of(guarded_channel, LIST_SERVICES, known)[0] is grpc.StatusCode.OK
    mcias.mood()
    mcias.start()
    assert status_of(guarded_channel, LIST_SERVICES, new)[0] is grpc.StatusCode.OK


def test_sighup_reads_the_ca_of_mcias_again(node: Daemon, mcias: Mcias) -> None:
    other = node.folder / "other.pem"
    other.write_bytes(node.ca.read_bytes())
    use_mcias(node, f'server_url = "{mcias.url}"', f'ca_cert = "{other}"')
    node.start()
    with node.channel() as channel:
        assert status_of(channel, LIST_SERVICES, bearer(mcias.token("operator")))[0] is grpc.StatusCode.UNAVAILABLE
        other.write_bytes(mcias.ca.read_bytes())
        node.signal(signal.SIGHUP)
        until(lambda: "configuration reloaded" in node.log, "SIGHUP is heard")
        assert status_of(channel, LIST_SERVICES, bearer(mcias.token("operator")))[0] is grpc.StatusCode.OK


def test_mcpd_starts_while_mcias_is_down_and_finds_it_later(node: Daemon, mcias: Mcias) -> None:
    metadata = bearer(mcias.token("operator"))
    mcias.stop()
    use_mcias(node, f'server_url = "{mcias.url}"', f'ca_cert = "{mcias.ca}"')
    node.start()
    with node.channel() as channel:
        assert status_of(channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.UNAVAILABLE
        mcias.start()
        assert status_of(channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.OK
    assert node.terminate() == 0


def test_mcpd_ends_in_order_while_somebody_waits_for_mcias(node: Daemon, mcias: Mcias) -> None:
    use_mcias(node, f'server_url = "{mcias.url}"', f'ca_cert = "{mcias.ca}"')
    node.start()
    metadata = bearer(mcias.token("operator"))
    mcias.mood("slow 60")
    with node.channel() as channel:
        before = mcias.requests(VALIDATE)
        call = channel.unary_unary(LIST_SERVICES).future(b"", metadata=metadata, timeout=CALL_S)
        until(lambda: mcias.requests(VALIDATE) > before or call.done())
        assert node.terminate() == 0
        assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert "Traceback" not in node.log


def test_no_token_is_in_the_log(guarded: Daemon, mcias: Mcias, guarded_channel: grpc.Channel) -> None:
    tokens = [mcias.token(name) for name in ("operator", "board", "writer")]
    for token in tokens:
        status_of(guarded_channel, LIST_SERVICES, bearer(token))
    mcias.mood("lying")
    tokens.append("a-token-that-nobody-made")
    status_of(guarded_channel, LIST_SERVICES, bearer(tokens[-1]))
    log = guarded.log
    assert [token for token in tokens if token in log or token.rpartition(".")[2] in log] == []
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["server_url = 'http://mcias.example.net'"], ["mcias.server_url", "https"]),
        (["server_url = 'https://mcias.example.net'", "ca_cert = 'nowhere.pem'"], ["mcias.ca_cert", "nowhere.pem"]),
        (["server_url = 'https://mcias.example.net'", "ca_cert = 'mcpd.toml'"], ["mcias.ca_cert", "no certificate"]),
        ([], ["mcias", "server_url"]),
    ],
)
def test_a_section_that_cannot_be_used_is_refused(node: Daemon, lines: list[str], parts: list[str]) -> None:
    use_mcias(node, *lines)
    assert node.run_to_end() == 2
    assert "Traceback" not in node.log
    assert [part for part in parts if part not in node.log] == []


def test_the_section_itself_is_needed(node: Daemon) -> None:
    node.edit('mode = "tokens"', 'mode = "mcias" ')
    assert node.run_to_end() == 2
    assert '[mcias] server_url = "https://..."' in node.log
