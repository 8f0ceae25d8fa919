"""What is made of servers that answer as MCIAS does not."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpctl.auth import mcias as client
from mcpctl.auth.credentials import Server
from mcpd.setup import pki
from tests.support.agent import HOSTILE, Run
from tests.support.mcias_process import PASSWORD, Mcias
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def canned(tmp_path: Path, authority: pki.Authority) -> Iterator[Callable[..., Server]]:
    """Starts a server that takes a request, and says what it is given: bytes, or pauses in seconds."""
    threads: list[threading.Thread] = []
    pem = pki.make_server(authority, "canned", "127.0.0.1")
    chain = tmp_path / "canned.pem"
    chain.write_bytes(pem.certificate + pem.key)
    (tmp_path / "canned-ca.pem").write_bytes(authority.pem.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def start(*answer: bytes | float) -> Server:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as plain:
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        request = b""
                        # To its end: a connection that is closed with something unread is reset.
                        while not request.endswith(b"}"):
                            request += connection.recv(65536)
                        for each in answer:
                            if isinstance(each, bytes):
                                connection.sendall(each)
                            else:
                                time.sleep(each)
                except OSError:
                    return

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        return Server(url, "mcp", tmp_path / "canned-ca.pem")

    yield start
    for each in threads:
        each.join(DEADLINE_S)


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def test_a_redirection_is_not_followed(canned: Callable[..., Server]) -> None:
    server = canned(answer(302, b"", "Location: https://127.0.0.1:1/v1/auth/login"))
    with pytest.raises(client.MciasError, match=r"with HTTP 302; check mcias\.server_url"):
        client.login(server, "kyle", PASSWORD)


@pytest.mark.parametrize("status", [401, 403, 418, 500])
def test_a_server_that_repeats_secrets_is_not_quoted(canned: Callable[..., Server], status: int) -> None:
    body = json.dumps({"error": f"totp? {PASSWORD} and 123456 are wrong"}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.login(canned(answer(status, body)), "kyle", PASSWORD, "123456")
    assert PASSWORD not in str(raised.value)
    assert "123456" not in str(raised.value)
    body = json.dumps({"error": "not with to.ken.x"}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.renew(canned(answer(status, body)), "to.ken.x", 10)
    assert "to.ken.x" not in str(raised.value)


def test_long_words_are_cut(canned: Callable[..., Server]) -> None:
    body = json.dumps({"error": "x" * 5000}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.login(canned(answer(403, body)), "kyle", PASSWORD)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "token", ["", "two words", "tökén", "a\r\nX-Evil: 1"], ids=["empty", "a space", "no ASCII", "a line break"]
)
def test_a_token_that_no_header_can_carry_is_refused(canned: Callable[..., Server], token: str) -> None:
    with pytest.raises(client.MciasError, match="like an MCIAS server") as raised:
        client.login(canned(answer(200, json.dumps({"token": token}).encode())), "kyle", PASSWORD)
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b""])
def test_what_is_no_http_is_one_sentence(canned: Callable[..., Server], said: bytes) -> None:
    with pytest.raises((client.MciasError, client.MciasUnreachableError)) as raised:
        client.login(canned(said), "kyle", PASSWORD)
    assert str(raised.value).startswith("MCIAS at https://127.0.0.1:")


def test_a_server_that_dribbles_is_given_up_in_time(
    canned: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE_S", 0.6)
    server = canned(b"HTTP/1.1 200 OK\r\nX: ", *([0.2, b"x"] * 10))
    since = time.monotonic()
    with pytest.raises(client.MciasUnreachableError, match="did not answer within"):
        client.login(server, "kyle", PASSWORD)
    assert time.monotonic() - since < 1.5


def test_what_mcias_says_cannot_move_the_cursor(
    run: Run, folder: Path, mcias: Mcias, typed: list[str], canned: Callable[..., Server]
) -> None:
    server = canned(answer(403, json.dumps({"error": HOSTILE}).encode()))
    path = folder / "mcp.toml"
    path.write_text(path.read_text().replace(mcias.url, server.url).replace(str(mcias.ca), "canned-ca.pem"))
    typed.append(PASSWORD)
    status, _, err = run("login", "--username", "kyle")
    assert status == 1
    assert err.replace("\n", "").isprintable()
