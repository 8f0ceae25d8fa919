"""What is wrong here and not on a node: files, certificates, bugs and interrupts."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpctl.nodes import client
from tests.support.agent import WEB, Run
from tests.support.offline import CONFIG
from tests.support.waiting import DEADLINE_S


def test_a_token_file_that_others_can_read_is_refused_before_anything_is_sent(run: Run, folder: Path) -> None:
    (folder / "token").chmod(0o644)
    status, _, err = run("ps")
    assert status == 2
    assert f"chmod 600 {folder / 'token'}" in err
    assert "secret" not in err


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_that_is_none_is_said(run: Run, folder: Path, content: str | None) -> None:
    path = folder / "ca.pem"
    path.unlink()
    if content is not None:
        path.write_text(content)
    status, _, err = run("ps")
    assert status == 2
    assert str(path) in err


def test_a_configuration_that_is_missing_is_said(run: Run, folder: Path) -> None:
    (folder / "mcp.toml").unlink()
    status, _, err = run("ps")
    assert status == 2
    assert f"{folder / 'mcp.toml'} does not exist" in err


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server that speaks TLS but hangs up on everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # It has no certificate: every handshake fails.
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


def test_a_server_that_is_no_agent_is_one_line_and_no_bug(run: Run, folder: Path, stranger: int) -> None:
    (folder / "mcp.toml").write_text(CONFIG.replace("127.0.0.1:1", f"127.0.0.1:{stranger}"))
    status, _, err = run("ps", "--node", "rift")
    assert status == 4
    (line,) = err.splitlines()
    assert line.startswith(f"mcpctl: node rift: the connection to 127.0.0.1:{stranger} failed: ")


def test_a_node_that_takes_a_connection_and_is_silent_is_not_waited_for_an_hour(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "services/web.toml").write_text(WEB)
    monkeypatch.setattr(client, "READ_DEADLINE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        (folder / "mcp.toml").write_text(CONFIG.replace("127.0.0.1:1", address))
        status, _, err = run("deploy", "web")
    assert status == 1
    assert err == f"mcpctl: node rift: {address} did not answer within 0.2 s\n"


def test_a_bug_is_a_sentence_and_not_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr("mcpctl.actions.status.ps", crash)
    status, out, err = run("ps")
    assert (status, out) == (1, "")
    assert err == (
        "mcpctl: a bug in mcpctl: RuntimeError: surprise\n"
        "Please report it to the project; `--debug` shows the traceback to include.\n"
    )


@pytest.mark.parametrize("words", [("ps",), ("ps", "--all")], ids=" ".join)
def test_an_interrupt_has_the_status_that_shells_know(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mcpctl.actions.status.ps", interrupt)
    status, _, err = run(*words)
    assert status == 130
    assert "interrupted" in err
