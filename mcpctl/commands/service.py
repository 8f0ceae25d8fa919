"""service list|show|edit|export|import: their signatures; what they do is in `mcpctl.actions.service_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import service_edit, service_export, service_show
from mcpctl.commands.options import COMMON, Common, DryRun
from mcpctl.definitions.exporting.formats import Format

Service = Annotated[str, Parameter(help="SERVICE.")]


def list_definitions(*, common: Common = COMMON) -> int:
    """List the definitions, also those that are wrong; ask no node.

    For example: `mcpctl service list`
    """
    return service_show.list_definitions(common.settings(), common.how)


def show(service: Service, /, *, common: Common = COMMON) -> int:
    """Show a definition as it is effective, defaults included.

    For example: `mcpctl service show web`
    """
    return service_show.show(common.settings(), service, common.how)


def edit(
    service: Service,
    /,
    *,
    new: Annotated[bool, Parameter(negative="", help="Begin a definition that does not exist yet.")] = False,
    yes: Annotated[bool, Parameter(negative="", help="Replace the definition without asking.")] = False,
    common: Common = COMMON,
) -> int:
    """Edit a definition: checked, compared with what runs, and replaced as a whole.

    With the editor that VISUAL or EDITOR names, on a copy. What is wrong is told, and the definition stays as it was
    until the copy is right.

    For example: `mcpctl service edit web`
    """
    return service_edit.edit(common.settings(), service, common.how, new=new, yes=yes)


def export(
    service: Service,
    /,
    *,
    format: Annotated[Format, Parameter(help="What to write.")] = Format.TOML,  # noqa: A002
    to: Annotated[
        str,
        Parameter(
            name="--to",
            allow_leading_hyphen=True,
            help="The file or folder to write to; - prints. [default: print]",
        ),
    ] = "",
    node: Annotated[str, Parameter(help="What this node's registry holds, whatever the definition says.")] = "",
    common: Common = COMMON,
) -> int:
    """Write a service for another program: a definition, quadlet, kube or compose.

    Made from the definition; for a service that has none (after `mcpctl adopt`) from its node's registry, and then
    --format toml writes the definition. What the format cannot say is told on stderr, with what to do about it.

    For example: `mcpctl service export web --format compose`
    """
    return service_export.export(common.settings(), service, format, to, node, common.how)


def import_service(
    file: Annotated[Path, Parameter(help="A compose file.")],
    /,
    *,
    name: Annotated[str, Parameter(help="The service's name. [default: the file's own, or its folder's]")] = "",
    node: Annotated[str, Parameter(help="The node. [default: the only active one]")] = "",
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Make a definition of a compose file.

    What a definition cannot say is told on stderr. Variables are taken from the environment, and from .env beside the
    file, as compose does. An image without a registry is written as Docker's: redis is docker.io/library/redis.

    For example: `mcpctl service import compose.yaml --name web --dry-run`
    """
    # With all that reads YAML: only when it is wanted.
    from mcpctl.actions import service_import

    return service_import.import_service(common.settings(), file, name, node, common.how, dry_run=dry_run)
