"""The project's checks. `nox` runs the quick ones; `contrib/test` prepares a machine and runs them all.

docs/testing.md says what each session is for, what it takes, and which variables size it.
"""

from __future__ import annotations

import filecmp
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "imports", "protos", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
# A machine without 3.12 or 3.13 says so and goes on; CI has all three.
nox.options.error_on_missing_interpreters = False

REPOSITORY = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13"]
# What is tried at random, and again and again. What it finds depends on values, not on the Python: the oldest one tries
# more. docs/testing.md explains each of them.
EXAMPLES = {
    "MCP_EXAMPLES": "30",
    "MCP_SIMULATION_HISTORIES": "50",
    "MCP_JOB_HISTORIES": "12",
    "MCP_KILL_ROUNDS": "3",
    "MCP_LOAD_SECONDS": "3",
    "MCP_SWAP_ROUNDS": "1000",
    "MCP_MODEL_STEPS": "400",
}
FEW_EXAMPLES = {
    "MCP_EXAMPLES": "10",
    "MCP_SIMULATION_HISTORIES": "10",
    "MCP_JOB_HISTORIES": "4",
    "MCP_KILL_ROUNDS": "1",
    "MCP_LOAD_SECONDS": "1",
    "MCP_SWAP_ROUNDS": "300",
    "MCP_MODEL_STEPS": "80",
}
MANY_EXAMPLES = {
    "MCP_EXAMPLES": "500",
    "MCP_SIMULATION_HISTORIES": "2000",
    "MCP_JOB_HISTORIES": "300",
    "MCP_KILL_ROUNDS": "30",
    "MCP_LOAD_SECONDS": "60",
    "MCP_SWAP_ROUNDS": "20000",
    "MCP_MODEL_STEPS": "10000",
}
# Points of the matrix of crashes: one in so many.
FEW_KILLS = {"MCP_CRASH_STRIDE": "26"}
# Two at once: half of the time they wait. A file's tests stay together, as they share what is made for them. In the
# order of the folders the longest files come first; xdist's own would have those of few tests last, however long.
QUICK = (
    *("-m", "not podman and not systemd and not bootstrap"),
    *("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
)
PODMAN5_TESTS = [
    f"tests/podman/test_{name}.py"
    for name in (
        *("demo", "lifecycle", "inspect", "check", "export", "export_keys", "adopt", "every_key", "names", "pull"),
        *("monitor", "failures", "secrets", "image_push"),
    )
]
GENERATED = ("__init__.py", "agent.binpb")
# What an environment is made of.
SOURCES = [REPOSITORY / name for name in ("requirements-dev.lock", "pyproject.toml", "mcpd/__init__.py")]


def environment(session: nox.Session) -> Path:
    """The programs of the session's environment, which is filled when it is empty or one of its sources has changed.

    A session of no certain Python has that of the tests: making it takes longer than most sessions do.
    """
    own = session.virtualenv.location if session.python else None
    folder = REPOSITORY / (own or ".nox/tests-{}-{}".format(*sys.version_info))
    python, stamp = str(folder / "bin/python"), folder / "sources"
    sources = "".join(each.read_text() for each in SOURCES)
    if not stamp.exists() or stamp.read_text() != sources:
        if not own:
            session.run(sys.executable, "-m", "venv", "--clear", str(folder), external=True)
        pip = (python, "-m", "pip", "install", "--quiet")
        session.run(*pip, "-r", str(REPOSITORY / "requirements-dev.lock"), external=True)
        session.run(*pip, "--no-deps", "-e", str(REPOSITORY), external=True)
        stamp.write_text(sources)
    return folder / "bin"


def run(session: nox.Session, *argv: str, variables: Mapping[str, str] | None = None) -> None:
    """Runs a program of the session's environment. What it starts finds the environment, too."""
    programs = environment(session)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    # The tests start thousands of processes. Without bytecode each of them would compile all of its modules.
    given = {"PATH": path, "PYTHONDONTWRITEBYTECODE": ""} | dict(variables or {})
    program = programs / argv[0]
    session.run(str(program if program.exists() else argv[0]), *argv[1:], env=given, external=True)


def sized(examples: Mapping[str, str]) -> dict[str, str]:
    """``examples``, but what the caller's environment says comes first."""
    return {name: os.environ.get(name, value) for name, value in examples.items()}


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick tests: no podman, under three minutes."""
    examples = EXAMPLES if session.python == PYTHONS[0] else FEW_EXAMPLES
    run(session, "pytest", *QUICK, *session.posargs, variables=sized(examples))


@nox.session(venv_backend="none")
def thorough(session: nox.Session) -> None:
    """The quick tests, with far more that is tried at random: for the night, or after a change of a rule."""
    run(session, "pytest", *QUICK, *session.posargs, variables=sized(MANY_EXAMPLES))


@nox.session(venv_backend="none")
def podman(session: nox.Session) -> None:
    """The tests that drive real podman, a real registry and real daemons. Needs root."""
    run(session, "pytest", "-m", "podman", *session.posargs, variables=sized(FEW_KILLS))


@nox.session(venv_backend="none")
def podman5(session: nox.Session) -> None:
    """The tests of what podman's version may change, under podman 5 in a Debian 13 tree. Needs root."""
    inside = ("contrib/podman5", "run")
    run(session, *inside, "podman", "--version")
    chosen = session.posargs or [name for name in PODMAN5_TESTS if Path(name).exists()]
    run(session, *inside, "python", "-m", "pytest", "-m", "podman", *chosen)


@nox.session(venv_backend="none")
def systemd(session: nox.Session) -> None:
    """The units and contrib/install, under a real systemd in a container. Needs root."""
    run(session, "pytest", "-m", "systemd", *(session.posargs or ["tests/systemd"]))


@nox.session(venv_backend="none")
def bootstrap(session: nox.Session) -> None:
    """docs/bootstrap.md to the letter, on a bare Debian 12 and a bare Debian 13. Needs root and Debian's archive."""
    run(session, "pytest", "-m", "bootstrap", *session.posargs)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Style and the usual mistakes."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Strict type checking."""
    run(session, "mypy")


@nox.session(venv_backend="none")
def imports(session: nox.Session) -> None:
    """The arrows between the packages and between mcpd's rooms."""
    run(session, "lint-imports", "--no-cache")


@nox.session(venv_backend="none")
def protos(session: nox.Session) -> None:
    """Lints the contract, and fails when the committed generated code is not what it generates (`-- --write` mends)."""
    with session.chdir("protos"):
        run(session, "buf", "lint")
    with tempfile.TemporaryDirectory() as folder:
        generate(session, Path(folder))
        for name in GENERATED:
            made, kept = Path(folder, "mcp/v1", name), Path("protos/mcp/v1", name)
            if "--write" in session.posargs:
                kept.write_bytes(made.read_bytes())
            elif not filecmp.cmp(made, kept, shallow=False):
                session.error(f"{kept} differs from what agent.proto generates; run `nox -s protos -- --write`")


def generate(session: nox.Session, folder: Path) -> None:
    Path(folder, "mcp/v1").mkdir(parents=True)
    run(
        session,
        "python",
        "-m",
        "grpc_tools.protoc",
        "-Iprotos",
        f"--python_betterproto_out={folder}",
        "--include_imports",
        f"--descriptor_set_out={folder}/mcp/v1/agent.binpb",
        "mcp/v1/agent.proto",
    )
    module = folder / "mcp/v1/__init__.py"
    usual, lean = "from dataclasses import dataclass\n", "from protos.lean_messages import dataclass\n"
    # Type checkers know the usual one.
    either = f"if TYPE_CHECKING:\n    {usual}else:\n    {lean}"
    text = module.read_text()
    for old, new in ((usual, ""), ("\nif TYPE_CHECKING:\n", f"\n{either}\nif TYPE_CHECKING:\n")):
        if text.count(old) != 1:
            session.error(f"the generated module does not have {old!r} once")
        text = text.replace(old, new)
    module.write_text(text)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measures ratios side by side, prints the table of DESIGN section 11 and writes bench.json. Needs root."""
    run(session, "python", "-m", "tests.bench", *session.posargs)


@nox.session(venv_backend="none")
def mutants(session: nox.Session) -> None:
    """Mutation testing: changes modules in one place at a time, and says which changes no test notices.

    `nox -s mutants -- PATH...` picks modules, or folders of modules, of those in tests/mutants/modules.py. A module of
    200 lines has about 400 mutants, and takes a few minutes; all of them take hours. `--again` tries only what survived
    the last time, with the tests as they are now; `--jobs N` tries N at once. Copies and state are in nox's cache
    folder. Writes docs/mutants.md, and fails when anything survives that tests/mutants/equivalent.toml does not list.
    """
    run(session, "python", "-m", "tests.mutants", "--state", str(session.cache_dir / "mutants"), *session.posargs)
