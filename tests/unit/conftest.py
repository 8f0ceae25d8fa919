"""What the unit tests share: an open registry, agents to ask, and Hypothesis that leaves no files behind."""

import asyncio
import contextlib
import gc
import signal
import sys
import tempfile
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from mcpctl import __main__ as program
from mcpd.registry.store import Registry
from mcpd.setup import pki
from protos.fingerprint import spec_hash
from tests.support.agent import HOST, WEB, Launch, Node, Program, Ran, Run
from tests.support.builders import NOW, container
from tests.support.changes import outcome, reports, step
from tests.support.examples import EXAMPLES
from tests.support.failing_changes import API, DB, Changed, Full
from tests.support.failing_changes import WEB as CHANGED_WEB
from tests.support.nodes import StatusAgent
from tests.support.terminal import OnTerminal, Open

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
settings.register_profile("unit", deadline=None, database=None, print_blob=True, max_examples=EXAMPLES)
settings.load_profile("unit")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with Registry.open(tmp_path / "mcp.db") as opened:
        yield opened


@pytest.fixture
async def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Changed, None]:
    async def stays_up(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()

    for module in ("lifecycle", "recover", "deploy"):
        monkeypatch.setattr(f"mcpd.changes.{module}.comes_up", stays_up)
    async with Registry.open(tmp_path / "full.db") as opened:
        opened.__class__ = Full
        registry = cast(Full, opened)
        await registry.put_service(CHANGED_WEB, {each.name: spec_hash(each) for each in CHANGED_WEB.components}, NOW)
        await registry.services()
        yield Changed(registry, container(DB), container(API))


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.make_authority("rift")


@pytest.fixture
def nodes(tmp_path: Path, authority: pki.Authority) -> Iterator[tuple[Node, Node]]:
    """Two nodes that listen, rift and orion, in the configuration of a workstation."""
    (tmp_path / "services").mkdir()
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "ca.pem").write_bytes(authority.pem.certificate)
    made = (Node("rift", authority, tmp_path), Node("orion", authority, tmp_path))
    tables = [f'[[nodes]]\nname = "{each.agent.node}"\naddress = "{HOST}:{each.port}"\n' for each in made]
    (tmp_path / "mcp.toml").write_text("".join(tables))
    try:
        for each in made:
            each.listen()
        yield made
    finally:
        for each in made:
            each.close()


@pytest.fixture
def rift(nodes: tuple[Node, Node]) -> Node:
    return nodes[0]


@pytest.fixture
def orion(nodes: tuple[Node, Node]) -> Node:
    return nodes[1]


@pytest.fixture
def alone(rift: Node, tmp_path: Path) -> Node:
    """The configuration has one active node."""
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write('state = "down"\n')
    return rift


@pytest.fixture
def both(rift: Node, orion: Node) -> tuple[Node, Node]:
    """They say how they are."""
    for each in (rift, orion):
        each.cut(for_good=True)
        each.agent = StatusAgent(each.agent.node)
        each.listen()
    return rift, orion


@pytest.fixture
def web(nodes: tuple[Node, Node], tmp_path: Path) -> Path:  # noqa: ARG001
    """The definition of a service with one component, on rift."""
    path = tmp_path / "services/web.toml"
    path.write_text(WEB)
    return path


@pytest.fixture
def deploying(rift: Node, web: Path) -> Node:  # noqa: ARG001
    """A node on which a deploy works."""
    rift.agent.prepared["DeployRequest"] = reports(step(), outcome())
    return rift


@pytest.fixture
def plain_asyncio() -> Iterator[None]:
    """The loops that the program has when it runs by itself, without trio-asyncio in the process."""
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


@pytest.fixture
def run(
    plain_asyncio: None,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs the program in this process."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mcpctl", *words])
        # It leaves it to its own end to close what is open; here, that end is none.
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            with pytest.raises(SystemExit) as raised:
                program.main()
            gc.collect()
        out, err = capsys.readouterr()
        assert isinstance(raised.value.code, int)
        return Ran(raised.value.code, out, err)

    for name in ("MCP_TOKEN", "MCP_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MCP_CONFIG", str(tmp_path / "mcp.toml"))
    return run


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Runs the program in a process of its own, until the end of the test at the latest."""
    with contextlib.ExitStack() as stack:
        # A shell's background jobs ignore Ctrl-C, and so would what the tests start when they are one.
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        yield lambda *words: stack.enter_context(contextlib.closing(Program(tmp_path, *words)))


@pytest.fixture
def on_terminal(tmp_path: Path, launch: Launch) -> Iterator[Open]:  # noqa: ARG001
    with contextlib.ExitStack() as stack:
        yield lambda *words, **environment: stack.enter_context(
            contextlib.closing(OnTerminal(tmp_path, *words, **environment))
        )
