"""push, pull, ls, diff-file: their signatures; what they do is in `mcpctl.actions.files`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import files
from mcpctl.actions.files import Pull, Push
from mcpctl.commands.options import COMMON, Common, target
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.errors import UsageError
from mcpctl.nodes.transfer import local, remote

_STANDARD_OUTPUT = "-"
_MODE = re.compile(r"0?[0-7]{3}")
_OWNER = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")
# The kernel's (uid_t) -1 is nobody's (chown(2)).
_LARGEST_USER = 2**32 - 2

Service = Annotated[str, Parameter(name="SERVICE", help="The service.")]
OnNode = Annotated[str, Parameter(name="--node", show_default=False, help="The node. [default: the definition's node]")]
Recursive = Annotated[
    bool, Parameter(name=("--recursive", "-r"), negative="", help="Copy a folder, with everything in it.")
]


def push(
    source: Annotated[str, Parameter(name="LOCAL", help="The local file or folder.")],
    service: Service,
    path: Annotated[
        str,
        Parameter(
            name="PATH",
            show_default=False,
            help="The destination in the service's folder; if it ends with / or is a folder, copy into it. [default: "
            "the local name]",
        ),
    ] = "",
    /,
    *,
    recursive: Recursive = False,
    mode: Annotated[
        str,
        Parameter(show_default=False, help="Permissions on the node, such as 0640. [default: those of the local file]"),
    ] = "",
    chown: Annotated[
        str,
        Parameter(
            show_default=False,
            help="Owner on the node as UID:GID, as the service's containers see it. [default: mcpd's user]",
        ),
    ] = "",
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """Copy a file or folder to a service's folder on its node.

    A file arrives whole or not at all, and its checksum is verified. Missing folders are created. Files of a folder are
    sent one by one; symbolic links are skipped.

    For example: `mcpctl push app.ini web conf/ --mode 0640`
    """
    wanted = Push(
        sources=local.sources(Path(source), recursive=recursive),
        name=_own_name(source),
        to=remote.checked(path),
        mode=_permissions(mode),
        owner=_owner(chown),
    )
    settings = common.settings()
    return files.push(settings, _node(settings, service, node), service, wanted, how=common.how)


def pull(
    service: Service,
    path: Annotated[str, Parameter(name="PATH", help="The path in the service's folder.")],
    destination: Annotated[
        str,
        Parameter(
            name="LOCAL",
            # For the single -, which is no option.
            allow_leading_hyphen=True,
            show_default=False,
            help="The local destination; if it is a folder, copy into it; - is stdout. [default: the name on the node]",
        ),
    ] = "",
    /,
    *,
    recursive: Recursive = False,
    force: Annotated[bool, Parameter(negative="", help="Overwrite existing local files.")] = False,
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """Copy a file or folder from a service's folder on its node.

    A file arrives whole or not at all, and its checksum is verified. Symbolic links in a folder are skipped.

    For example: `mcpctl pull web conf/app.ini`
    """
    where = remote.checked(path).removesuffix("/")
    if not where and not recursive:
        raise UsageError(f"{path!r} is the service's folder; --recursive copies a folder")
    to = None if destination == _STANDARD_OUTPUT else _destination(destination, remote.last_name(where, service))
    if to is None and (recursive or common.json):
        option = "--recursive" if recursive else "--output json"
        raise UsageError(f"{option} cannot be given with LOCAL -: stdout can take one file and nothing else")
    if to is not None and not recursive:
        local.check_free(to, force=force)
    settings = common.settings()
    wanted = Pull(where, to, recursive, force)
    return files.pull(settings, _node(settings, service, node), service, wanted, how=common.how)


def ls(
    service: Service,
    path: Annotated[
        str,
        Parameter(
            name="PATH", show_default=False, help="A folder in the service's folder. [default: the service's folder]"
        ),
    ] = "",
    /,
    *,
    limit: Annotated[
        int | None, Parameter(show_default=False, help="Show at most this many, the first by name. [default: all]")
    ] = None,
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """List the files in a service's folder on its node.

    For example: `mcpctl ls web conf`
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    where = remote.checked(path).removesuffix("/")
    settings = common.settings()
    return files.ls(settings, _node(settings, service, node), service, where, limit, how=common.how)


def diff_file(
    source: Annotated[str, Parameter(name="LOCAL", help="The local file.")],
    service: Service,
    path: Annotated[
        str,
        Parameter(
            name="PATH",
            show_default=False,
            help="The path in the service's folder, as for push. [default: the local name]",
        ),
    ] = "",
    /,
    *,
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """Compare a local file with one in a service's folder on its node.

    Compares size, checksum and permissions. The exit status is 0 if the files are the same, 1 if they differ.

    For example: `mcpctl diff-file app.ini web conf/`
    """
    where = remote.checked(path)
    settings = common.settings()
    on = _node(settings, service, node)
    return files.compare(settings, on, service, Path(source), _own_name(source), where, how=common.how)


def _node(settings: Settings, service: str, name: str) -> Node:
    """Where the service is. Raises UsageError; CliError when that node is not active."""
    plain, component = target(service)
    if component:
        raise UsageError(f"{service!r} names a component; files belong to a service: {plain}")
    if name:
        return settings.usable_node(name)
    try:
        found = definition.load(settings, service)
    except UsageError as error:
        raise UsageError(f"{error}\nWithout a definition, give --node NAME.") from None
    return settings.usable_node(found.service.node)


def _own_name(path: str) -> str:
    """What a file here is called there, when nothing else is said. Raises UsageError."""
    name = Path(path).name
    name = Path(path).resolve().name if name in ("", "..") else name
    if not name:
        raise UsageError(f"{path!r} has no file name to use on the node; give PATH")
    return remote.checked(name)


def _destination(text: str, name: str) -> Path:
    """Raises UsageError."""
    path = Path(text or name)
    if text.startswith("-"):
        raise UsageError(f"pull has no option {text!r}; for a file of that name write ./{text}")
    if text and path.is_dir():
        return path / name
    if text.endswith("/"):
        raise UsageError(f"{text} is not a folder; create it with `mkdir`")
    return path


def _permissions(text: str) -> int | None:
    if not text:
        return None
    if not _MODE.fullmatch(text):
        raise UsageError(f"--mode: {text!r} is not an octal mode, such as 0640")
    return int(text, 8)


def _owner(text: str) -> str:
    if not text:
        return ""
    match = _OWNER.fullmatch(text)
    if not match or any(int(number) > _LARGEST_USER for number in match.groups()):
        raise UsageError(f"--chown: {text!r} is not UID:GID, such as 1000:1000")
    return text
