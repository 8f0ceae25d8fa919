"""What people type who know other programs, or who slip: answered with the word that is ours, and their arguments."""

from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.commands.app import COMMANDS, IMAGE_COMMANDS, NODE_COMMANDS
from mcpctl.commands.suggestions import _NOTHING_LIKE_IT, _OURS, answer
from tests.support.agent import WEB, Node, Run

KNOWN = {"": [*COMMANDS, "node", "help", "version"], "node": [*NODE_COMMANDS], "image": [*IMAGE_COMMANDS]}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("up web", "mcpctl has no `up`; use `mcpctl deploy web`"),
        ("up -d web", "mcpctl has no `up`; use `mcpctl deploy web`"),
        ("apply -f ./web.toml", "mcpctl has no `apply`; use `mcpctl deploy ./web.toml`"),
        ("rm web blog", "mcpctl has no `rm`; use `mcpctl undeploy web blog`"),
        ("down", "mcpctl has no `down`; use `mcpctl undeploy`"),
        ("delete web", "mcpctl has no `delete`; use `mcpctl undeploy web`"),
        ("kill web/api", "mcpctl has no `kill`; use `mcpctl stop web/api`"),
        ("describe web", "mcpctl has no `describe`; use `mcpctl status web`"),
        ("get web", "mcpctl has no `get`; use `mcpctl status web`"),
        ("get pods", "mcpctl has no `get pods`; use `mcpctl ps`"),
        ("inspect web", "mcpctl has no `inspect`; use `mcpctl service show web`"),
        ("log web", "mcpctl has no `log`; use `mcpctl logs web`"),
        ("event", "mcpctl has no `event`; use `mcpctl events`"),
        ("prune", "mcpctl has no `prune`; use `mcpctl image prune`"),
        ("node prune", "mcpctl has no `node prune`; use `mcpctl image prune`"),
        ("node prune rift --dry-run", "mcpctl has no `node prune`; use `mcpctl image prune --node rift`"),
        ("images", "mcpctl has no `images`; use `mcpctl image list`"),
        ("image ls", "mcpctl has no `image ls`; use `mcpctl image list`"),
        ("image rm nginx", "mcpctl has no `image rm`: `mcpctl image prune` removes"),
        ("node rm rift", "mcpctl has no `node rm`; use `mcpctl node remove rift`"),
        ("init", "mcpctl has no `init`: `mcpd init DIR`"),
        ("pull image nginx", "`mcpctl pull SERVICE PATH` copies files; a deploy pulls the images it needs"),
        ("delpoy web --wait", "mcpctl has no `delpoy`; did you mean `mcpctl deploy web --wait`?"),
        ("node lst", "mcpctl has no `node lst`; did you mean `mcpctl node list`?"),
        ("xyzzy", "mcpctl has no `xyzzy`; `mcpctl help` lists its commands"),
        ("node xyzzy", "mcpctl has no `node xyzzy`; `mcpctl help node` lists its commands"),
    ],
)
def test_a_word_of_others_is_answered_with_ours(typed: str, meant: str) -> None:
    said = answer(typed.split(), KNOWN)
    assert said is not None
    assert said.startswith(meant)


@pytest.mark.parametrize("typed", ["", "--help", "status web", "pull web conf", "node", "node list", "node --help"])
def test_our_own_words_are_let_through(typed: str) -> None:
    assert answer(typed.split(), KNOWN) is None


def test_what_is_named_instead_is_a_command_of_ours() -> None:
    from mcpctl.commands import app

    known = {f"{group} {name}".strip() for group, names in app._GROUPS.items() for name in names}
    for ours in (each for table in _OURS.values() for each in table.values()):
        words = [word for word in ours.split() if not word.startswith("-")]
        assert " ".join(words[:2]) in known or words[0] in known, ours


def test_no_word_of_others_hides_one_of_ours() -> None:
    from mcpctl.commands import app

    for group, table in _OURS.items():
        assert not {each for each in table if " " not in each} & {*app._GROUPS[group]}
    assert not {*_NOTHING_LIKE_IT} & {*app.COMMANDS}


@pytest.mark.parametrize("words", [("up", "web"), ("stauts",), ("node", "rm", "x")], ids=" ".join)
def test_it_is_an_error_of_usage(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert "mcpctl has no" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("help",), "deploy"),
        (("help", "deploy"), "Usage: mcpctl deploy"),
        (("help", "node"), "set-state"),
        (("help", "node", "add"), "Usage: mcpctl node add"),
        (("node", "help"), "set-state"),
        (("help", "help"), "Usage: mcpctl help"),
    ],
    ids=str,
)
def test_help_is_a_word_too(run: Run, words: tuple[str, ...], part: str) -> None:
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert part in out


def test_help_of_what_there_is_not_says_so(run: Run) -> None:
    assert run("help", "delpoy").status == 2


@pytest.mark.usefixtures("rift")
def test_o_is_short_for_output(run: Run, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(
        'name = "web"\nnode = "rift"\n[[components]]\nname = "a"\nimage = "x"\n'
    )
    assert run("service", "list", "-o", "json").out == run("service", "list", "--output", "json").out
    assert run("service", "export", "web", "-o", "json").out.startswith("{")


# -- names of services and components


def test_a_misspelt_service_that_no_node_knows_is_guessed(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    for each in (rift, orion):
        each.agent.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "there is no service wbe")
        each.agent.prepared["ListServicesRequest"] = each.agent.prepared["GetStatusRequest"]
    for words in ("status", "timeline", "logs"):
        status, out, err = run(words, "wbe")
        assert (status, out) == (2, "")
        assert "there is no service wbe; did you mean web?" in err


@pytest.mark.usefixtures("rift")
def test_a_misspelt_component_is_guessed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, _, err = run("deploy", "web/apo")
    assert status == 2
    assert err.endswith("has api; did you mean web/api?\n")
