"""service list|show|edit|export|import: the definitions, what they say, and other notations of it."""

from __future__ import annotations

import errno
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from mcpctl.actions import service_edit, service_export
from mcpctl.commands.options import COMMON, Common, DryRun
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.exporting.formats import Format
from mcpctl.definitions.loss import Loss
from mcpctl.errors import DONE, USAGE, CliError, UsageError
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing
from mcpctl.ui.rows import DefinitionRow, EditRow, EffectiveRow, WrittenRow
from protos import grammar, naming
from protos.strict import MAX_FILE_SIZE

Service = Annotated[str, Parameter(help="SERVICE.")]

# What stands for a field that is not set.
_UNSET = {"network": "podman's default", "user": "the image's", "heal": "the node's", "health": "none"}
_UNSET |= {"settle": "0.5s, 20ms when new"}
_EMPTY = {"cmd": "the image's"}
# What becomes of a definition that was edited.
_WRITTEN, _UNCHANGED, _NOT_BEGUN = "written", "unchanged", "not written: nothing was changed in the draft"


class ImportRow(msgspec.Struct, frozen=True):
    """``losses``: what a definition cannot say."""

    file: str
    written: bool
    losses: tuple[Loss, ...]


def list_definitions(*, common: Common = COMMON) -> int:
    """List the definitions, also those that are wrong; ask no node.

    For example: `mcpctl service list`
    """
    settings = common.settings()
    found, wrong = definition.every(settings)
    right = {each.path: each for each in found}
    # In the same order: by name.
    errors = iter(wrong)
    rows = [
        _row(right[path])
        if path in right
        else DefinitionRow(path.stem, "", None, (), str(path), str(next(errors, "was written just now: ask again")))
        for path in definition.paths(settings)
    ]
    how = common.how
    view = View(("NAME", "NODE", "ACTIVE", "COMPONENTS", "FILE"), _cells, lambda row: row.name)
    listing(rows, how, view, f"{settings.services_dir} has no definitions")
    if not how.structured:
        for error in wrong:
            render.note(f"mcpctl: {error}")
    return USAGE if wrong else DONE


def _row(found: Definition) -> DefinitionRow:
    service = found.service
    return DefinitionRow(service.name, service.node, service.active, service.component_names, str(found.path))


def _cells(row: DefinitionRow) -> tuple[str, ...]:
    if row.error:
        return row.name, "-", "-", "wrong", row.file
    return row.name, row.node, "yes" if row.active else "no", ", ".join(row.components), row.file


def show(service: Service, /, *, common: Common = COMMON) -> int:
    """Show a definition as it is effective, defaults included.

    For example: `mcpctl service show web`
    """
    found = definition.load(common.settings(), service)
    if common.json:
        common.put(EffectiveRow(str(found.path), _plain(found.service)))
        return DONE
    render.say(f"# {found.path}")
    _say_fields(found.service, "")
    for component in found.service.components:
        print()
        container = found.service.container(component.name)
        render.say((f"[[components]]  # container {container}, version {component.version}", "bold"))
        _say_fields(component, "")
    return DONE


def _say_fields(struct: msgspec.Struct, prefix: str) -> None:
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if field.name == "components":
            continue
        if isinstance(value, msgspec.Struct):
            # Of the probes, only the one that there is.
            _say_fields(value, f"{prefix}{field.name}.")
        elif not (prefix == "health." and field.name in ("cmd", "http", "tcp") and not value):
            is_default = field.default is not msgspec.NODEFAULT and value == field.default
            is_default = is_default or (field.default_factory is not msgspec.NODEFAULT and not value)
            text = _shown(field.name, value)
            pieces: list[str | tuple[str, str]] = [f"{prefix}{field.name} = {text}"]
            render.say(*pieces, *([("  # default", "grey")] if is_default else []))


def _shown(name: str, value: object) -> str:
    if value is None:
        return f"({_UNSET.get(name, 'none')})"
    if value == () and name in _EMPTY:
        return f"({_EMPTY[name]})"
    if name in ("memory", "cpus", "pids") and not value:
        return "0 (no limit)"
    return toml.shown(name, value)


def _plain(value: object) -> Any:
    """Every field, with durations as a definition writes them and sizes in bytes."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return toml.duration(value) if isinstance(value, timedelta) else value


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
    settings = common.settings()
    path, before = _to_edit(settings, service, new)
    with service_edit.draft(path, _template(settings, service) if before is None else before) as draft:
        found = service_edit.checked(settings, draft)
        if not draft.is_changed():
            return _edited(common, path, _NOT_BEGUN if before is None else _UNCHANGED)
        if not common.json:
            for line in draft.difference():
                render.say((line, {"+": "green", "-": "red"}.get(line[:1], "")))
            _show_plan(settings, Definition(path, found.service))
        if sys.stdin.isatty() and not yes and not service_edit.asked(f"Write {path}?", default=False):
            raise CliError(f"{path} is as it was")
        service_edit.replace(path, draft.text(), before)
    return _edited(common, path, _WRITTEN)


def _to_edit(settings: Settings, name: str, new: bool) -> tuple[Path, bytes | None]:
    """The definition's file and what it holds; None when it is to be made. Raises UsageError."""
    path = settings.services_dir / f"{name}.toml"
    if not naming.is_name(name):
        raise UsageError(f"{name!r} is not the name of a service: {naming.NAME_RULE}")
    if path.is_file():
        if new:
            raise UsageError(f"{path} exists: edit it without --new")
        return path, path.read_bytes()
    if not settings.services_dir.is_dir():
        raise UsageError(f"{settings.services_dir} does not exist; services.dir in {settings.path} says where it is")
    if not new and not (sys.stdin.isatty() and service_edit.asked(f"{path} does not exist. Begin it?", default=False)):
        raise UsageError(f"no service {name!r}: {path} does not exist; --new begins it")
    return path, None


def _template(settings: Settings, name: str) -> bytes:
    node = next((each.name for each in settings.active_nodes), "NODE")
    return service_edit.TEMPLATE.replace("NAME", name).replace("NODE", node).encode()


def _show_plan(settings: Settings, found: Definition) -> None:
    """As `mcpctl plan` does; a node that cannot be asked is said."""
    from mcpctl.actions.plan import Wanted, plan_one

    try:
        plan_one(settings, Wanted(found), how=How())
    except CliError as error:
        render.note(f"mcpctl: what a deploy would change is not known: {error}")


def _edited(common: Common, path: Path, how: str) -> int:
    if common.json:
        common.put(EditRow(str(path), how == _WRITTEN))
    else:
        render.note(f"{path}: {how}")
    return DONE


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
    from mcpctl.definitions.exporting import export as exported_as

    settings = common.settings()
    found = service_export.find(settings, service, node)
    exported = exported_as(found.service, format)
    if format is Format.TOML and found.path is None and not to and not node:
        path = service_export.write_definition(settings, found.service)
        if common.json:
            common.put(WrittenRow(str(path)))
        else:
            render.note(f"{path}: written, from the registry of node {found.service.node}")
    elif common.json and not to:
        common.put(exported)
        return DONE
    else:
        service_export.put(exported, format, to)
    service_export.tell(exported.losses)
    return DONE


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
    from mcpctl.definitions.importing import ComposeError, Source, import_compose

    settings = common.settings()
    if name:
        try:
            grammar.name(name)
        except ValueError as error:
            raise UsageError(f"--name: {error}") from None
    node = settings.node(node).name if node else _only_node(settings)
    source = Source(file.expanduser().absolute().parent, os.environ, _read)
    try:
        imported = import_compose(_read(file.expanduser()), source, name=name, node=node)
    except ComposeError as error:
        raise UsageError("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}") from None
    path = settings.services_dir / f"{imported.service.name}.toml"
    if dry_run:
        definition.check(settings, path, imported.service)
    else:
        service_export.write_definition(settings, imported.service)
    if common.json:
        common.put(ImportRow(str(path), not dry_run, tuple(imported.losses)))
        return DONE
    if dry_run:
        service_export.show(toml.text(imported.service))
    else:
        render.note(f"{path}: written")
    service_export.tell(imported.losses)
    return DONE


def _only_node(settings: Settings) -> str:
    names = [each.name for each in settings.active_nodes]
    if len(names) != 1:
        raise UsageError(f"{settings.path} has {len(names)} active nodes ({', '.join(names)}): say --node NAME")
    return names[0]


def _read(path: Path) -> str:
    """Raises OSError, also for a file that is too large; UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_FILE_SIZE // 2**20} MiB")
    return content.decode()
