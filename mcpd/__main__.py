"""The command line of the daemon."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from mcpd import __version__
from mcpd.errors import ConfigError, InvalidRequestError, expected
from mcpd.model import Role

DEFAULT_CONFIG = Path("/srv/mcp/mcpd.toml")
# A module of these that is missing is a bug.
_OURS = ("mcpd", "monitor", "protos")

app = App(
    name="mcpd",
    help="Keeps the containers of this node running as declared.",
    version=f"mcpd {__version__}",
    result_action="return_int_as_exit_code_else_zero",
)
token_app = App(name="token", help="Bearer tokens for mcpctl and other clients.")
app.command(token_app)

Config = Annotated[Path, Parameter(name="--config", help="The daemon's configuration file.")]


@app.command
def init(
    folder: Path,
    *,
    node: Annotated[str, Parameter(help="The node's name, as definitions refer to it.")],
    address: Annotated[str, Parameter(help="The IP:PORT that operators connect to; never a wildcard.")],
) -> None:
    """Set up a node: configuration, private CA, server certificate, admin token. Never overwrites.

    For example: `mcpd init /srv/mcp --node rift --address 100.95.252.120:9444`
    """
    from mcpd.setup.init import initialize

    print(initialize(folder, node, address), end="")


@app.command
def serve(*, config: Config = DEFAULT_CONFIG) -> None:
    """Run the daemon in the foreground until SIGTERM. Containers keep running when it stops."""
    import trio

    from mcpd import daemon
    from mcpd.config.settings import load
    from mcpd.node import daemon_log

    settings = load(config)
    daemon_log.set_up()
    trio.run(daemon.serve, settings, config, strict_exception_groups=True)


@app.command
def check(*, output: Literal["table", "json"] = "table", config: Config = DEFAULT_CONFIG) -> int:
    """Check whether this machine is fit for mcpd, and show how to fix each problem. Run it as the daemon's user.

    Changes nothing; safe while the daemon runs. Exit status 0: no failure, 1: a failure, 2: no usable configuration.
    """
    import trio

    from mcpd.checks import finding
    from mcpd.checks.examine import examine
    from mcpd.config.settings import load

    findings = trio.run(examine, load(config), datetime.now(UTC))
    if output == "json":
        print(finding.as_json(findings))
    else:
        print(finding.as_table(findings, coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    return int(finding.failed(findings))


@app.command
def snapshot(
    *,
    to: Annotated[
        Path | None, Parameter(help="The folder for snapshots. [default: snapshots, beside the database]")
    ] = None,
    keep: Annotated[int, Parameter(help="How many snapshots to keep there, newest first.")] = 14,
    verify: Annotated[
        bool, Parameter(negative="", show_default=False, help="Also restore it to a scratch file and open it.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Take a checked snapshot of the registry, even while the daemon writes to it.

    For example: `mcpd snapshot --keep 30 --verify`
    """
    import trio

    from mcpd.config.settings import load
    from mcpd.registry.snapshots import take
    from mcpd.registry.snapshots.restore import rehearse

    if keep < 1:
        raise InvalidRequestError(f"--keep: {keep} would keep none; keep at least 1")
    database = load(config).database.path
    folder = to or take.default_folder(database)
    made = take.take(database, folder, datetime.now(UTC))
    print(f"{made.path}: {made.size} bytes, {made.services} services, checked")
    if verify:
        trio.run(rehearse, made.path)
        print("restored to a scratch file and opened: the snapshot is usable")
    for each in take.prune(folder, keep):
        print(f"removed {each.name}")


@app.command
def restore(
    file: Path,
    /,
    *,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Only restore it to a scratch file and open it.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Replace the registry with a snapshot, while the daemon is stopped. The old database stays beside it.

    Containers are not touched; at its next start, the daemon reports how they differ from the registry.

    For example: `mcpd restore /srv/mcp/snapshots/mcp-2026-11-24T020000.123456Z.db`
    """
    import trio

    from mcpd.config.settings import load
    from mcpd.registry.snapshots import restore

    database = load(config).database.path
    services = trio.run(restore.rehearse, file)
    if dry_run:
        print(f"{file} can be restored: {services} services; nothing was changed")
        return
    done = restore.restore(file, database, datetime.now(UTC))
    print(f"{database} now holds {file.name}: {services} services")
    if done.kept:
        print(f"the old database is kept as {done.kept}")
    print("start mcpd again; `mcpctl events` then shows how the registry and podman differ")


@app.command
def version() -> None:
    """Show the version."""
    print(f"mcpd {__version__}")


@token_app.command(name="add")
def token_add(
    name: str,
    *,
    role: Annotated[Role, Parameter(help="admin may do everything, viewer may only look.")] = Role.VIEWER,
    expires: Annotated[
        str, Parameter(show_default=False, help="How long it is valid, say 90d. [default: until it is revoked]")
    ] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Create a token and print it once: only its hash is kept.

    For example: `mcpd token add backup-script --role viewer --expires 365d`
    """
    from mcpd.identity import tokens
    from protos import grammar

    try:
        lifetime = grammar.positive_duration(expires) if expires else None
    except ValueError as error:
        raise InvalidRequestError(f"--expires: {error}") from None
    print(tokens.add(_tokens_path(config), name, role, datetime.now(UTC), lifetime))


@token_app.command(name="list")
def token_list(*, output: Literal["table", "json"] = "table", config: Config = DEFAULT_CONFIG) -> None:
    """Show the name, role and expiry of every token; never the token itself."""
    from mcpd.identity import tokens

    now = datetime.now(UTC)
    if output == "json":
        print(tokens.described(tokens.load(_tokens_path(config))).decode())
        return
    print(f"{'NAME':24} {'ROLE':8} {'CREATED':17} EXPIRES")
    for each in tokens.load(_tokens_path(config)):
        expires = f"{each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "never"
        ended = " (expired)" if each.is_expired(now) else ""
        print(f"{each.name:24} {each.role:8} {each.created_at:%Y-%m-%d %H:%M}  {expires}{ended}")


@token_app.command(name="revoke")
def token_revoke(name: str, *, config: Config = DEFAULT_CONFIG) -> None:
    """Revoke a token. It stops working with the next call."""
    from mcpd.identity import tokens

    tokens.revoke(_tokens_path(config), name)
    print(f"token {name} revoked")


def _tokens_path(config: Path) -> Path:
    from mcpd.config.settings import load

    return load(config).auth.tokens_path


def main() -> None:
    """The entry point: exit status 0 done, 1 failed, 2 wrong usage or configuration."""
    try:
        status = app(print_error=False, exit_on_error=False)
    except CycloptsError as error:
        _die(f"{error}\nSee `mcpd --help`.", 2)
    except (ConfigError, InvalidRequestError) as error:
        _die(str(error), 2)
    except OSError as error:
        _die(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        _die(
            f"{error.name} is not installed: a workstation's installation has only what mcpctl needs; on a node, "
            "`pip install -r requirements.lock`, or `pip install 'mcp-control-plane[daemon]'`",
            1,
        )
    except Exception as error:
        failure = expected(error)
        if failure is None:
            raise
        _die(str(failure), 1)
    sys.exit(status)


def _die(message: str, status: int) -> None:
    print(f"mcpd: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
