"""The command line of the daemon."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from mcpd import __version__
from mcpd.errors import ConfigError, InvalidRequestError, expected
from mcpd.model import Role

DEFAULT_CONFIG = Path("/srv/mcp/mcpd.toml")

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
    node: Annotated[str, Parameter(help="The node's name, as definitions will say it.")],
    address: Annotated[str, Parameter(help="IP:PORT that operators reach; never a wildcard.")],
) -> None:
    """Set up a node: configuration, private CA, server certificate, admin token. Never overwrites.

    For example: `mcpd init /srv/mcp --node rift --address 100.95.252.120:9444`
    """
    from mcpd.setup import initialize

    print(initialize(folder, node, address), end="")


@app.command
def serve(*, config: Config = DEFAULT_CONFIG) -> None:
    """Run the daemon in the foreground until SIGTERM. Containers live on when it ends."""
    import trio

    from mcpd import daemon, logs
    from mcpd.config import load

    settings = load(config)
    logs.set_up()
    trio.run(daemon.serve, settings, config, strict_exception_groups=True)


@app.command
def version() -> None:
    """Show the version."""
    print(f"mcpd {__version__}")


@token_app.command(name="add")
def token_add(
    name: str,
    *,
    role: Annotated[Role, Parameter(help="admin may do everything, viewer may look.")] = Role.VIEWER,
    expires: Annotated[str, Parameter(help="How long it is valid, say 90d. Empty: until it is revoked.")] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make a token and print it, once: only its hash is kept.

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
    """Show every token's name, role and end; never the token."""
    from mcpd.identity import tokens

    now = datetime.now(UTC)
    if output == "json":
        print(tokens.described(tokens.load(_tokens_path(config))).decode())
        return
    print(f"{'NAME':24} {'ROLE':8} {'MADE':17} EXPIRES")
    for each in tokens.load(_tokens_path(config)):
        expires = f"{each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "never"
        ended = " (expired)" if each.is_expired(now) else ""
        print(f"{each.name:24} {each.role:8} {each.created_at:%Y-%m-%d %H:%M}  {expires}{ended}")


@token_app.command(name="revoke")
def token_revoke(name: str, *, config: Config = DEFAULT_CONFIG) -> None:
    """Take a token back. It stops working with the next call."""
    from mcpd.identity import tokens

    tokens.revoke(_tokens_path(config), name)
    print(f"token {name} revoked")


def _tokens_path(config: Path) -> Path:
    from mcpd.config import load

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
