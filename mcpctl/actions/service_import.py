"""What `mcpctl service import` does: makes a definition of a compose file, and says what that cannot say."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec

from mcpctl.actions import service_export
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.importing import ComposeError, Source, import_compose
from mcpctl.definitions.loss import Loss
from mcpctl.errors import DONE, UsageError
from mcpctl.ui import render
from mcpctl.ui.output import How, put
from protos import grammar
from protos.validation import MAX_FILE_SIZE


class ImportRow(msgspec.Struct, frozen=True):
    """``losses``: what a definition cannot say."""

    file: str
    written: bool
    losses: tuple[Loss, ...]


def import_service(settings: Settings, file: Path, name: str, node: str, how: How, *, dry_run: bool) -> int:
    """``name`` and ``node`` "": the file's, and the only active one. Raises UsageError."""
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
    if how.structured:
        put(how, ImportRow(str(path), not dry_run, tuple(imported.losses)))
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
        raise UsageError(f"{settings.path} has {len(names)} active nodes ({', '.join(names)}); give --node NAME")
    return names[0]


def _read(path: Path) -> str:
    """Raises OSError, also for a file that is too large; UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_FILE_SIZE // 2**20} MiB")
    return content.decode()
