"""Files beside a definition that are part of it: its env files, and the sources of its configs.

What they say is put into the service when the definition is read, so that a change of them is a change of it. Nothing
but the files decides: variables in an env file stand for earlier ones of the same component, never for those of the
shell, or one definition would say different things on different days. No value is in any message.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mcpctl.definitions import dotenv
from protos import grammar
from protos.parts import MAX_CONFIG_BYTES, ConfigFile
from protos.spec import Component, Service
from protos.validation import MAX_FILE_SIZE, Problem

_KIB = 1024


def resolved(service: Service, folder: Path) -> tuple[Service, list[Problem]]:
    """The service with everything that its definition in ``folder`` names, and what is wrong with that."""
    problems: list[Problem] = []
    components = tuple(
        _component(each, folder, f"components[{index}]", problems) for index, each in enumerate(service.components)
    )
    if all(made is each for made, each in zip(components, service.components, strict=True)):
        return service, problems
    return msgspec.structs.replace(service, components=components), problems


def read_text(path: Path, most: int = MAX_FILE_SIZE) -> str:
    """A file of at most ``most`` bytes. Raises OSError, also for what is no file; ValueError for what is not UTF-8."""
    # Before it is opened: a pipe would wait for its writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EISDIR if path.is_dir() else errno.EINVAL, "it is not a regular file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        size = f"{most // _KIB**2} MiB" if most >= _KIB**2 else f"{most // _KIB} KiB"
        raise OSError(errno.EFBIG, f"it is larger than {size}")
    return content.decode()


def reason(error: OSError | ValueError) -> str:
    """Why `read_text` failed, in words."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be opened"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "it is not a path"


def _component(component: Component, folder: Path, path: str, problems: list[Problem]) -> Component:
    made = component
    if component.env_file:
        env = _environment(component.env_file, folder, path, problems)
        made = msgspec.structs.replace(made, env_file=(), env={**env, **component.env})
    if any(each.source is not None for each in component.configs):
        configs = tuple(
            _config(each, folder, f"{path}.configs[{index}].source", problems)
            for index, each in enumerate(component.configs)
        )
        made = msgspec.structs.replace(made, configs=configs)
    return made


def _environment(names: tuple[str, ...], folder: Path, path: str, problems: list[Problem]) -> dict[str, str]:
    """A later file is stronger than an earlier one."""
    env: dict[str, str] = {}
    before = len(problems)
    for index, name in enumerate(names):
        here = f"{path}.env_file[{index}]"
        text = _read(folder / name, name, here, MAX_FILE_SIZE, problems)
        if text is not None:
            # What an earlier file would have said is not missing: that file is.
            found, wrong = _variables(text, env, are_known=len(problems) == before)
            problems += [Problem(here, f"{name}, {each}") for each in wrong]
            env |= found
    return env


def _variables(text: str, earlier: dict[str, str], *, are_known: bool) -> tuple[dict[str, str], list[str]]:
    """Those of one file, and the lines that are none. ``are_known``: whether ``earlier`` is complete."""
    wrong: list[str] = []

    def missing(line: int, name: str) -> None:
        if are_known:
            wrong.append(
                f"line {line}: {name} has no value: write {name}=VALUE; or, where a $ is meant, $$, or the value in "
                "single quotes"
            )

    try:
        found = dotenv.parsed(text, {}, missing, earlier=earlier)
    except dotenv.EnvFileError as error:
        return {}, [str(error)]
    return found, [*wrong, *_not_allowed(found)]


def _not_allowed(env: dict[str, str]) -> Iterator[str]:
    for name, value in env.items():
        try:
            grammar.env_name(name)
        except ValueError as error:
            yield str(error)
        try:
            grammar.argument(value)
        except ValueError as error:
            yield f"the value of {name} {error}"


def _config(config: ConfigFile, folder: Path, path: str, problems: list[Problem]) -> ConfigFile:
    if (name := config.source) is None:
        return config
    text = _read(folder / name, name, path, MAX_CONFIG_BYTES, problems)
    if text is None:
        return config
    try:
        grammar.argument(text)
    except ValueError as error:
        problems.append(Problem(path, f"{name} {error}"))
    return msgspec.structs.replace(config, source=None, content=text)


def _read(path: Path, name: str, where: str, most: int, problems: list[Problem]) -> str | None:
    try:
        return read_text(path, most)
    except FileNotFoundError:
        problems.append(Problem(where, f"{name} does not exist; put it at {path}"))
    except (OSError, ValueError) as error:
        problems.append(Problem(where, f"{name} cannot be read: {reason(error)}"))
    return None
