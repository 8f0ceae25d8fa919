"""The project's checks. `nox` runs the quick ones; `contrib/test` prepares a machine and runs them all."""

from __future__ import annotations

import filecmp
import os
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "imports", "protos", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
# A machine without 3.12 or 3.13 says so and goes on; CI has all three.
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]
PODMAN5_TESTS = [
    f"tests/podman/test_{name}.py"
    for name in (
        *("demo", "lifecycle", "inspect", "check", "export", "export_keys", "adopt", "every_key", "names", "pull"),
        *("monitor", "failures"),
    )
]
GENERATED = ("__init__.py", "agent.binpb")


def install(session: nox.Session) -> None:
    session.install("-r", "requirements-dev.lock")
    session.install("--no-deps", "-e", ".")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick tests: no podman, under three minutes."""
    install(session)
    # Two at once: half of the time they wait. A file's tests stay together, as they share what is made for them.
    chosen = "not podman and not systemd and not bootstrap"
    # What a property's examples find depends on values, not on the Python: the oldest one tries them all.
    examples = os.environ.get("MCP_EXAMPLES", "100" if session.python == PYTHONS[0] else "25")
    argv = ("-m", chosen, "-n", "2", "--dist", "loadfile", *session.posargs)
    session.run("pytest", *argv, env={"MCP_EXAMPLES": examples})


@nox.session
def podman(session: nox.Session) -> None:
    """The tests that drive real podman, a real registry and real daemons. Needs root."""
    install(session)
    session.run("pytest", "-m", "podman", *session.posargs)


@nox.session
def podman5(session: nox.Session) -> None:
    """The tests of what podman's version may change, under podman 5 in a Debian 13 tree. Needs root."""
    install(session)
    inside = ("contrib/podman5", "run")
    session.run(*inside, "podman", "--version", external=True)
    chosen = session.posargs or [name for name in PODMAN5_TESTS if Path(name).exists()]
    session.run(*inside, "python", "-m", "pytest", "-m", "podman", *chosen, external=True)


@nox.session
def systemd(session: nox.Session) -> None:
    """The units and contrib/install, under a real systemd in a container. Needs root."""
    install(session)
    session.run("pytest", "-m", "systemd", *(session.posargs or ["tests/systemd"]))


@nox.session
def bootstrap(session: nox.Session) -> None:
    """docs/bootstrap.md to the letter, on a bare Debian 12 and a bare Debian 13. Needs root and Debian's archive."""
    install(session)
    session.run("pytest", "-m", "bootstrap", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the usual mistakes."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict type checking."""
    install(session)
    session.run("mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """The arrows between the packages and between mcpd's rooms."""
    install(session)
    session.run("lint-imports", "--no-cache")


@nox.session
def protos(session: nox.Session) -> None:
    """Lints the contract, and fails when the committed generated code is not what it generates (`-- --write` mends)."""
    install(session)
    with session.chdir("protos"):
        session.run("buf", "lint")
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
    session.run(
        "python",
        "-m",
        "grpc_tools.protoc",
        "-Iprotos",
        f"--python_betterproto_out={folder}",
        "--include_imports",
        f"--descriptor_set_out={folder}/mcp/v1/agent.binpb",
        "mcp/v1/agent.proto",
        # protoc finds the betterproto plugin through PATH.
        env={"PATH": f"{session.bin}{os.pathsep}{os.environ['PATH']}"},
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Measures ratios side by side, prints the table of DESIGN section 11 and writes bench.json. Needs root."""
    install(session)
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Mutation testing: changes modules in one place at a time, and says which changes no test notices.

    `nox -s mutants -- PATH...` picks modules, or folders of modules, of those in tests/mutants/modules.py. A module of
    200 lines has about 400 mutants, and takes a few minutes; all of them take hours. `--again` tries only what survived
    the last time, with the tests as they are now; `--jobs N` tries N at once. Copies and state are in nox's cache
    folder. Writes docs/mutants.md, and fails when anything survives that tests/mutants/equivalent.toml does not list.
    """
    install(session)
    session.run("python", "-m", "tests.mutants", "--state", str(session.cache_dir / "mutants"), *session.posargs)
