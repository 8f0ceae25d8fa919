"""Service definitions: the TOML files that are the source of truth. Read, checked as a whole, and edited in place."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mcpctl.config import Settings
from mcpctl.definitions import beside, targets
from mcpctl.errors import CliError, UnknownServiceError, UsageError
from mcpctl.ui import render
from protos import grammar, naming, validation
from protos.spec import Service, examine_service
from protos.validation import Problem

# How mcpd says that it has no such service or component.
_NOT_DEPLOYED = ("is not known on", "is deployed on", "has no component")


class Definition(msgspec.Struct, frozen=True):
    """A definition that was read and found right."""

    path: Path
    service: Service

    def check_component(self, name: str) -> None:
        """Raises UsageError when the service has no component ``name``; "" stands for all of them."""
        if name and self.service.component(name) is None:
            names = self.service.component_names
            close = difflib.get_close_matches(name, names, n=1)
            meant = _meant(f"{self.service.name}/{close[0]}" if close else "")
            raise UsageError(
                f"{self.service.name} has no component {name!r}; {self.path} has {', '.join(names)}{meant}"
            )


def load(settings: Settings, name: str) -> Definition:
    """The definition of service ``name``. Raises UsageError with every problem in it."""
    path = settings.services_dir / f"{name}.toml"
    if not naming.is_name(name) or not path.is_file():
        raise UsageError(f"no service {name!r}: {path} does not exist{nearest(settings, name)}")
    return read(settings, path)


def find(settings: Settings, text: str) -> tuple[Definition, str]:
    """What a command line names, and the component of it, "" for all. ``text``: as `mcpctl.definitions.targets` has it.

    Raises UsageError. A file may be anywhere; of one that is not among the others, a note says what that means.
    """
    if targets.is_file(text):
        return _named_file(settings, text), ""
    name, component = targets.split(text)
    found = load(settings, name)
    found.check_component(component)
    return found, component


def find_several(settings: Settings, names: Sequence[str]) -> list[tuple[Definition, str]]:
    """What is named, each once. Raises UsageError with everything that is wrong."""
    found: dict[tuple[str, str], tuple[Definition, str]] = {}
    wrong = []
    for name in names:
        try:
            one, component = find(settings, name)
            found.setdefault((str(one.path), component), (one, component))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(wrong))
    return list(found.values())


def _named_file(settings: Settings, text: str) -> Definition:
    path = Path(text).expanduser().absolute()
    ours = settings.services_dir / path.name
    # Whoever names a file of the folder without its path means that one, too; links are the same file.
    is_ours = ours.is_file() and (path.resolve() == ours.resolve() or (not path.is_file() and Path(text).name == text))
    if is_ours:
        return load(settings, ours.stem)
    if not path.is_file():
        raise UsageError(f"{text}: no such file{nearest(settings, path.stem)}")
    found = read(settings, path)
    if ours.is_file():
        beside = f"not the file that `mcpctl sync` uses for this service, which is {ours}"
    else:
        beside = f"not in {settings.services_dir}, so `mcpctl sync` does not see it"
    render.note(f"mcpctl: {path}: {beside}")
    return found


def read(settings: Settings, path: Path, folder: Path | None = None) -> Definition:
    """The definition in ``path``. Raises UsageError with every problem in it.

    ``folder``: where the files are that it names, if not beside it.
    """
    neighbours = {each: _examine(each) for each in paths(settings) if each != path}
    return _judged(settings, path, {**neighbours, path: _examine(path, folder)})


def check(settings: Settings, path: Path, service: Service) -> Definition:
    """What ``path`` would be with ``service`` in it. Raises UsageError with every problem."""
    return _judged(settings, path, {**{each: _examine(each) for each in paths(settings)}, path: (service, [])})


def every(settings: Settings) -> tuple[list[Definition], list[UsageError]]:
    """Every definition, by name, and what is wrong with those that are none. Raises UsageError without their folder."""
    examined = {path: _examine(path) for path in _present(settings)}
    found, wrong = [], []
    for path in examined:
        try:
            found.append(_judged(settings, path, examined))
        except UsageError as error:
            wrong.append(error)
    return found, wrong


def defined(settings: Settings) -> list[str]:
    """The services that have a definition, whether or not it is right: by its file's name, and by the one in it.

    Raises UsageError without their folder.
    """
    examined = {path: _examine(path)[0] for path in _present(settings)}
    return sorted({path.stem for path in examined} | {service.name for service in examined.values() if service})


def readable(settings: Settings, name: str = "") -> tuple[list[Service], list[Path]]:
    """The services with a definition that is right in itself, and the files that hold none; only ``name``'s if given.

    Nothing without their folder.
    """
    files = paths(settings) if not name else [settings.services_dir / f"{name}.toml"]
    examined = [(path, _examine(path)[0]) for path in files if path.is_file()]
    right = [service for path, service in examined if service and service.name == path.stem]
    return right, [path for path, service in examined if service is None or service.name != path.stem]


def unknown(
    settings: Settings, name: str, error: UnknownServiceError, asked: Collection[str], component: str = ""
) -> CliError:
    """What to say of service ``name``, or of a component of it, when none of the nodes that were ``asked`` has it."""
    if not (settings.services_dir / f"{name}.toml").is_file():
        return UnknownServiceError(f"{error}{nearest(settings, name)}")
    try:
        found = load(settings, name).service
    except UsageError:
        return UnknownServiceError(f"{error}; its definition is invalid: `mcpctl service show {name}` shows why")
    if found.node not in asked:
        return UnknownServiceError(f"{error}; its definition says node {found.node}")
    # Its service may be deployed all the same; and it may be a run of it that is not there.
    if component in found.component_names and any(words in str(error) for words in _NOT_DEPLOYED):
        return UnknownServiceError(f"{error}; `mcpctl deploy {name}/{component}` deploys it")
    if component:
        return UnknownServiceError(f"{error}{nearest(settings, name, component)}")
    return CliError(f"{name} is defined for node {found.node} but not deployed; `mcpctl deploy {name}` deploys it")


def paths(settings: Settings) -> list[Path]:
    """Every definition file, by name."""
    return sorted(settings.services_dir.glob("*.toml"))


def _present(settings: Settings) -> list[Path]:
    # A slip in the configuration must not look like "nothing is defined any more".
    if not settings.services_dir.is_dir():
        raise UsageError(f"{settings.services_dir} does not exist; set services.dir in {settings.path}")
    return paths(settings)


# What a file holds, or what is wrong with it.
_Examined = tuple[Service | None, list[Problem]]


def _judged(settings: Settings, path: Path, examined: Mapping[Path, _Examined]) -> Definition:
    """``examined`` has ``path`` and its neighbours. Raises UsageError with every problem in it."""
    service, problems = examined[path]
    if service is not None:
        # A neighbour that is broken is its own problem, told when somebody uses it.
        # So is one that is called otherwise than its file: a copy, say, which agrees with its original in everything.
        neighbours = [other for _, other in _neighbours(path, examined)]
        problems = _disagreements(settings, path, service, neighbours)
    if service is None or problems:
        raise UsageError(str(validation.Invalid(str(path), problems)))
    return Definition(path, service)


def check_ports(settings: Settings, found: Definition) -> None:
    """Raises UsageError when another service of its node declares a host port that ``found`` does.

    Whoever brings it to its node asks; to stop one of the two, both must be readable.
    """
    _check_ports(found, {each: _examine(each) for each in paths(settings)})


def _check_ports(found: Definition, examined: Mapping[Path, _Examined]) -> None:
    problems = [
        problem
        for where, other in _neighbours(found.path, examined)
        if other.node == found.service.node
        for problem in _shared_ports(found.service, where, other)
    ]
    if problems:
        raise UsageError(str(validation.Invalid(str(found.path), problems)))


def without_clashes(
    settings: Settings, found: Iterable[Definition], wrong: Iterable[UsageError]
) -> tuple[list[Definition], list[UsageError]]:
    """As `every` returns; those that `check_ports` refuses are among the wrong ones."""
    examined = {each: _examine(each) for each in paths(settings)}
    good, bad = [], [*wrong]
    for each in found:
        try:
            _check_ports(each, examined)
        except UsageError as error:
            bad.append(error)
        else:
            good.append(each)
    return good, bad


def _neighbours(path: Path, examined: Mapping[Path, _Examined]) -> list[tuple[Path, Service]]:
    """The other services that are defined rightly, each in its own file."""
    return [
        (where, other)
        for where, (other, _) in examined.items()
        if other and where.name != path.name and other.name == where.stem
    ]


def _examine(path: Path, folder: Path | None = None) -> _Examined:
    """With what the files say that it names, which are in ``folder``; None: beside it."""
    try:
        data = validation.read_toml(path)
    except validation.Invalid as error:
        return None, error.problems
    except OSError as error:
        return None, [Problem("", f"cannot be read: {error.strerror}")]
    service, problems = examine_service(data)
    if service is not None:
        service, problems = beside.resolved(service, folder or path.parent)
    return (None if problems else service), problems


def _disagreements(settings: Settings, path: Path, service: Service, neighbours: Iterable[Service]) -> list[Problem]:
    """How a definition that is right in itself disagrees with its file, the nodes and its neighbours."""
    problems = []
    if service.name != path.stem:
        problems.append(Problem("name", f"is {service.name!r}, but the file is {path.name}; rename one of them"))
    if all(node.name != service.node for node in settings.nodes):
        known = settings.known_nodes(service.node)
        problems.append(Problem("node", f"{service.node!r} is not a node in {settings.path}; {known}"))
    ours = {service.container(name): name for name in service.component_names}
    if service.name != path.stem:
        return problems  # until it has a name of its own, what it shares with others says nothing
    for other in neighbours:
        if other.node != service.node:
            continue
        for name in other.component_names:
            if (container := other.container(name)) in ours:
                index = service.component_names.index(ours[container])
                problems.append(
                    Problem(
                        f"components[{index}].name",
                        f"its container name {container} is also that of {other.name}/{name}; rename one of them",
                    )
                )
    return problems


def _ports(service: Service, *, active: bool) -> Iterator[tuple[str, str, grammar.Port]]:
    """Each host port that components of the service publish: its key, its text and its value."""
    for index, each in enumerate(service.components):
        if each.network not in ("host", "none") and service.wants_running(each) is active:
            for position, text in enumerate(each.ports):
                yield f"components[{index}].ports[{position}]", text, grammar.port(text)


def _shared_ports(service: Service, where: Path, other: Service) -> list[Problem]:
    """Host ports that two services of a node would both have. What is not active has none."""
    theirs = list(_ports(other, active=True))
    return [
        Problem(
            key, f"publishes {text!r} on {service.node}, as {where.name} does ({there}: {their_text!r}); change one"
        )
        for key, text, port in _ports(service, active=True)
        for there, their_text, their_port in theirs
        if port.overlaps(their_port)
    ]


def nearest(settings: Settings, name: str, component: str = "") -> str:
    """What may have been meant by a service, or a component, that is not known, as the end of a sentence.

    "" when nothing is near.
    """
    if component:
        service, _ = _examine(settings.services_dir / f"{name}.toml")
        if service and service.component(component) is None:
            close = difflib.get_close_matches(component, service.component_names, n=1)
            return _meant(f"{name}/{close[0]}" if close else "")
    names = [path.stem for path in paths(settings)]
    # One that is defined is what was meant, though a node may not have it.
    close = [] if name in names else difflib.get_close_matches(name, names, n=1)
    return _meant(close[0] if close else "")


def _meant(name: str) -> str:
    return f"; did you mean {name}?" if name else ""
