"""The files of a project as one document: merged, with what they include and extend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.definitions.beside import reason
from mcpctl.definitions.importing import environment, merging, paths
from mcpctl.definitions.importing.compose_file import ComposeError, documents, interpolated
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import project_name
from mcpctl.definitions.importing.source import Source
from mcpctl.definitions.interpolation import InterpolationError, expanded

# docs.docker.com/compose/how-tos/environment-variables/envvars
_PROJECT_NAME, _PROFILES = "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"
# More than any project has; each can name others.
_MOST_FILES = 200
# It is parsed, and then loaded.
_OF_ONE_FILE = 2


class Project(msgspec.Struct, frozen=True):
    """``source`` has everything that variables are taken from. ``name`` is compose's."""

    document: dict[str, Any]
    source: Source
    name: str
    profiles: frozenset[str]


def load(files: Sequence[Path], source: Source, profiles: Sequence[str], report: Diagnostics) -> Project:
    """Raises ComposeError, OSError and UnicodeDecodeError for what cannot be read."""
    known = environment.of_project(source, report)
    if report.problems:
        raise ComposeError(*report.problems)
    loader = _Loader(source, report, is_several=len(files) > 1)
    name = _name([loader.parsed(each) for each in files], known, source)
    # Compose sets it for whoever asks for it.
    source = msgspec.structs.replace(source, environment={**known, _PROJECT_NAME: name})
    loader.source = source
    made: dict[str, Any] = {}
    for path in files:
        made = merging.merged(made, loader.file(path, source.folder, source.environment, made))
    active = profiles or [each.strip() for each in source.environment.get(_PROFILES, "").split(",")]
    return Project(merging.settled(made), source, name, frozenset(filter(None, active)))


def _name(read: Sequence[list[dict[str, Any]]], known: Mapping[str, str], source: Source) -> str:
    """The last one that a file says."""
    names = [merging.settled(document.get("name")) for documents in read for document in documents]
    said = next((each for each in reversed(names) if isinstance(each, str)), "")
    try:
        said = expanded(said, known, lambda _: None)
    except InterpolationError:
        said = ""  # it is refused where the whole file is read
    return project_name(said, known, source.folder)


class _Loader:
    """``source``: what variables are taken from is put into it before a file is loaded."""

    def __init__(self, source: Source, report: Diagnostics, *, is_several: bool) -> None:
        self.source = source
        self._report = report
        self._is_several = is_several
        self._parsed: dict[Path, list[dict[str, Any]]] = {}
        self._loaded = 0

    def parsed(self, path: Path) -> list[dict[str, Any]]:
        """The documents in a file, as they stand there. Raises ComposeError, OSError and ValueError."""
        if path not in self._parsed:
            self._count()
            with self._named(path):
                self._parsed[path] = documents(self.source.read(path))
        return self._parsed[path]

    def file(self, path: Path, folder: Path, known: Mapping[str, str], earlier: dict[str, Any]) -> dict[str, Any]:
        """One file with what it includes and extends. ``folder``: to which its own paths are relative."""
        self._count()
        made = self._interpolated(path, known)
        services = made.get("services")
        if isinstance(services, dict):
            bases = {**_services(earlier), **services}
            made["services"] = {key: self._extended(path, folder, bases, key, ()) for key in services}
        include = merging.settled(made.pop("include", None))
        for index, each in enumerate(self._report.items(include, "include")):
            made = merging.merged(self._included(each, f"include[{index}]", folder), made)
        return made

    def _interpolated(self, path: Path, known: Mapping[str, str]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        with self._named(path):
            for document in self.parsed(path):
                made = merging.merged(made, interpolated(document, known, self._missing, self._malformed))
        return made

    def _count(self) -> None:
        self._loaded += 1
        if self._loaded > _MOST_FILES:
            raise ComposeError(f"include: it and extends name more than {_MOST_FILES} files: does one name itself?")

    @contextmanager
    def _named(self, path: Path) -> Iterator[None]:
        """Errors begin with the name of their file, where there are several."""
        try:
            yield
        except ComposeError as error:
            name = f"{os.path.relpath(path, self.source.folder)}: "
            if self._loaded <= _OF_ONE_FILE and not self._is_several:
                raise
            lines = str(error).split("\n")
            raise ComposeError(*(line if line.startswith(name) else f"{name}{line}" for line in lines)) from None

    def _missing(self, where: str, name: str) -> None:
        self._report.unset.setdefault(name, where)

    def _malformed(self, where: str, message: str) -> None:
        self._report.warn(where, f"{message}; compose refuses it, here it stands for itself")

    # -- extends

    def _extended(
        self, path: Path, folder: Path, services: dict[str, Any], key: str, chain: tuple[tuple[Path, str], ...]
    ) -> Any:
        """A service with everything of the one that it extends."""
        service = services[key]
        if not isinstance(service, dict) or service.get("extends") is None:
            return service
        where = f"services.{key}.extends"
        if (path, key) in chain:
            raise ComposeError(f"{where}: extends itself, by way of others; remove one of them")
        extends = merging.settled(service["extends"])
        options = extends if isinstance(extends, dict) else {"service": extends}
        name, file = options.get("service"), options.get("file")
        if not isinstance(name, str) or not isinstance(file, (str, type(None))):
            raise ComposeError(f"{where}: expected the name of a service, or a mapping with service and file")
        chain = (*chain, (path, key))
        if file is None:
            _check_known(services, name, where, path)
            base = self._extended(path, folder, services, name, chain)
        else:
            base = self._of_other_file(folder, file, name, where, chain)
        own = {field: each for field, each in service.items() if field != "extends"}
        return merging.merged({"services": {key: base}}, {"services": {key: own}})["services"][key]

    def _of_other_file(
        self, folder: Path, file: str, name: str, where: str, chain: tuple[tuple[Path, str], ...]
    ) -> Any:
        other = _joined(folder, file)
        self._check_readable(other, where)
        made = self._interpolated(other, self.source.environment)
        services = _services(made)
        _check_known(services, name, where, other)
        base = self._extended(other, other.parent, services, name, chain)
        return paths.rebased_service(base, os.path.relpath(other.parent, folder))

    # -- include

    def _included(self, value: Any, where: str, folder: Path) -> dict[str, Any]:
        """The files of one entry, with their paths as seen from ``folder``."""
        report = self._report
        options = value if isinstance(value, dict) else {"path": value}
        files = report.words(options.get("path"), f"{where}.path")
        if remote := [each for each in files if paths.is_remote(each)]:
            report.lost(where, f"{remote[0]} is not on this machine: download it, and name the file")
            return {}
        if not files:
            report.wrong(where, "expected the path of a compose file")
            return {}
        others = [_joined(folder, each) for each in files]
        own = options.get("project_directory")
        base = _joined(folder, report.text(own, f"{where}.project_directory")) if own else others[0].parent
        known = {**self._defaults(options.get("env_file"), where, folder, base), **self.source.environment}
        made: dict[str, Any] = {}
        for each in others:
            self._check_readable(each, where)
            made = merging.merged(made, self.file(each, base, known, made))
        made.pop("name", None)
        return paths.rebased(made, os.path.relpath(base, folder))

    def _defaults(self, value: Any, where: str, folder: Path, base: Path) -> dict[str, str]:
        """What the env files of an included project say; by default, of the ``.env`` in its folder."""
        report, found = self._report, dict[str, str]()
        named = [_joined(folder, each) for each in report.words(value, f"{where}.env_file")]
        for path in named or [base / environment.DOTENV]:
            try:
                text = self.source.read(path)
            except FileNotFoundError as error:
                if named:
                    report.wrong(f"{where}.env_file", f"{path} cannot be read: {reason(error)}")
                continue
            except (OSError, UnicodeDecodeError) as error:
                report.wrong(f"{where}.env_file", f"{path} cannot be read: {reason(error)}")
                continue
            found |= environment.variables(
                text, os.path.relpath(path, self.source.folder), self.source.environment, found, report
            )
        return found

    def _check_readable(self, path: Path, where: str) -> None:
        try:
            self.parsed(path)
        except (OSError, ValueError) as error:
            raise ComposeError(f"{where}: {path} cannot be read: {reason(error)}") from None


def _services(document: dict[str, Any]) -> dict[str, Any]:
    services = document.get("services")
    return services if isinstance(services, dict) else {}


def _check_known(services: dict[str, Any], name: str, where: str, path: Path) -> None:
    if name not in services:
        known = ", ".join(services) or "no services"
        raise ComposeError(f"{where}: {name!r} is not a service of {path.name}, which has {known}")


def _joined(folder: Path, name: str) -> Path:
    return Path(os.path.normpath(folder / name))
