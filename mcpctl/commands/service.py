"""service list|show|edit|export|import: their signatures; what they do is in `mcpctl.actions.service_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import service_edit, service_export, service_show
from mcpctl.commands.options import COMMON, Common, DryRun
from mcpctl.definitions.exporting.formats import Format

Service = Annotated[str, Parameter(help="The service.")]


def list_definitions(*, common: Common = COMMON) -> int:
    """List the definitions on this machine.

    The list includes invalid definitions. No node is contacted.

    For example: `mcpctl service list`
    """
    return service_show.list_definitions(common.settings(), common.how)


def show(service: Service, /, *, common: Common = COMMON) -> int:
    """Show a definition, with defaults filled in.

    For example: `mcpctl service show web`
    """
    return service_show.show(common.settings(), service, common.how)


def edit(
    service: Service,
    /,
    *,
    new: Annotated[bool, Parameter(negative="", help="Create the definition if it does not exist.")] = False,
    yes: Annotated[bool, Parameter(negative="", help="Save the definition without asking.")] = False,
    common: Common = COMMON,
) -> int:
    """Edit a definition: check it and show the plan before it is saved.

    Opens a copy in the editor that VISUAL or EDITOR names. The definition is replaced only once the copy is valid;
    until then mcpctl lists the errors and you can edit again.

    For example: `mcpctl service edit web`
    """
    return service_edit.edit(common.settings(), service, common.how, new=new, yes=yes)


def export(
    service: Service,
    /,
    *,
    format: Annotated[Format, Parameter(help="The format.")] = Format.TOML,  # noqa: A002
    to: Annotated[
        str,
        Parameter(
            name="--to",
            allow_leading_hyphen=True,
            help="The file or folder to write to; - is stdout. [default: stdout]",
        ),
    ] = "",
    node: Annotated[str, Parameter(help="Export from the registry of this node, not from the definition.")] = "",
    common: Common = COMMON,
) -> int:
    """Export a service as a definition, quadlet, kube or compose file.

    Uses the definition. A service without one (after `mcpctl adopt`) is taken from the registry of its node; then
    --format toml writes the missing definition. Settings that the format cannot express are listed on stderr, with
    what to do about them.

    For example: `mcpctl service export web --format compose`
    """
    return service_export.export(common.settings(), service, format, to, node, common.how)


def import_service(
    files: Annotated[
        tuple[Path, ...], Parameter(name="FILE", help="The compose file, or several that are merged in this order.")
    ],
    /,
    *,
    name: Annotated[
        str, Parameter(help="The name of the service. [default: the name in the file, or its folder's name]")
    ] = "",
    node: Annotated[str, Parameter(help="The node. [default: the only active node]")] = "",
    profile: Annotated[
        tuple[str, ...],
        Parameter(
            name="--profile",
            negative="",
            help="Also import the services of this profile; * for all; can be given more than once.",
        ),
    ] = (),
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Create a definition from a compose file.

    Several files are merged as compose does. What is otherwise in the definition is listed on stderr: lost behaves
    differently; changed is only written otherwise; ignored has no meaning here. As with compose, variables come from
    the environment and from .env next to the file. An image without a registry gets Docker's: redis becomes
    docker.io/library/redis.

    For example: `mcpctl service import compose.yaml --name web --dry-run`
    """
    # With all that reads YAML: only when it is wanted.
    from mcpctl.actions import service_import

    return service_import.import_service(common.settings(), files, name, node, profile, common.how, dry_run=dry_run)
