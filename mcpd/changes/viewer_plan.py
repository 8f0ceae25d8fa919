"""Plans for viewers, who may not know the values of environment variables: such a plan confirms no guess."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

import msgspec

from mcpd.model import RecordedComponent, RecordedService
from protos.spec import Component, Service

NOT_COMPARED = "values of environment variables and texts of configs are not compared in a viewer's plan"


def without_guesses(service: Service, recorded: RecordedService | None) -> Service:
    """``service`` with other values in its environments: those that the registry has, where it knows the variable.

    A variable that it does not know gets a value that nobody can have meant: a container that was made from something
    else than the registry holds must not be told from another by a guess, either.
    """
    components = tuple(
        _without_guesses(each, recorded.component(each.name) if recorded else None) for each in service.components
    )
    return msgspec.structs.replace(service, components=components)


def warnings(service: Service, selected: frozenset[str]) -> tuple[str, ...]:
    """What is said of it."""
    has_values = any(each.env or each.configs for each in service.components if each.name in selected)
    return (f"{service.name}: {NOT_COMPARED}",) if has_values else ()


def _without_guesses(component: Component, recorded: RecordedComponent | None) -> Component:
    specs = [each for each in (recorded.deployed, recorded.spec) if each] if recorded else []
    known = {name: value for each in specs for name, value in each.env.items()}
    texts = {config.target: config.content for each in specs for config in each.configs}
    args = {name: value for each in specs if each.build for name, value in each.build.args.items()}
    build = component.build
    return msgspec.structs.replace(
        component,
        env=_values(component.env, known),
        configs=tuple(
            msgspec.structs.replace(each, content=texts.get(each.target) or secrets.token_hex())
            for each in component.configs
        ),
        build=msgspec.structs.replace(build, args=_values(build.args, args)) if build else None,
    )


def _values(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    return {name: known[name] if name in known else secrets.token_hex() for name in names}
