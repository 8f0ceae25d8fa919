"""What routes may not say together with the rest of a definition, and what keeps two containers from running at a time.

Works on plain values, like `protos.agreement`, which calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protos import grammar, podman_notation
from protos.validation import Problem

Values = Mapping[str, Any]

_NAMESPACES = ("network", "pid", "ipc")
_DEFAULT_LISTEN = 443
# A route of this mode is passed through as a whole.
_TLS = "tls"


def problems(components: Sequence[Values]) -> list[Problem]:
    """Of all routes of a service, and of what its components say of updates."""
    found: list[Problem] = []
    claimed: dict[tuple[object, object, object], str] = {}
    passed: dict[tuple[object, object], tuple[bool, str]] = {}
    for index, each in enumerate(components):
        path = f"components[{index}]"
        found += _of_component(each, path)
        if each.get("update") == "start-first" and (why := alone(each, components)):
            words = f'is "start-first", but two of it cannot run at a time: {why}'
            found.append(Problem(f"{path}.update", words))
        for number, route in enumerate(_routes(each)):
            here = f"{path}.routes[{number}]"
            claim = (route.get("listen", _DEFAULT_LISTEN), route.get("host"), route.get("path", "/"))
            if claim in claimed:
                words = f"claims {claim[1]}{claim[2]} on port {claim[0]}, which {claimed[claim]} already claims"
                found.append(Problem(here, words))
            claimed.setdefault(claim, here)
            is_passed = route.get("mode") == _TLS
            before, where = passed.setdefault(claim[:2], (is_passed, here))
            if before is not is_passed:
                words = f"and {where} say both, to pass TLS of {claim[1]} on port {claim[0]} through and to end it"
                found.append(Problem(here, words))
    return found


def _of_component(component: Values, path: str) -> list[Problem]:
    routes = _routes(component)
    if not routes:
        return []
    found = []
    network = component.get("network")
    if component.get("oneshot") is True:
        found.append(Problem(f"{path}.routes", "cannot be used with oneshot: what runs to its end serves nobody"))
    if network == "none":
        found.append(Problem(f"{path}.routes", 'cannot be used with network = "none", where nobody reaches it'))
    elif isinstance(network, str) and (name := podman_notation.named_component(network)):
        found.append(Problem(f"{path}.routes", f"cannot be used here: the network is {name}'s, so route to {name}"))
    for number, route in enumerate(routes):
        found += _of_route(component, route, f"{path}.routes[{number}]")
    spoken: dict[int, set[str]] = {}
    for route in routes:
        if isinstance(port := route.get("port"), int) and port:
            spoken.setdefault(port, set()).add(str(route.get("mode", "http")))
    for port, modes in spoken.items():
        if len(modes) > 1:
            words = f"send {' and '.join(sorted(modes))} to the one port {port}, which can speak only one of them"
            found.append(Problem(f"{path}.routes", words))
    return found


def _of_route(component: Values, route: Values, path: str) -> list[Problem]:
    found = []
    if route.get("mode") == _TLS and route.get("path", "/") != "/":
        found.append(Problem(f"{path}.path", 'cannot be used with mode = "tls": the proxy does not see the path'))
    env, variable = component.get("env"), _variable(route)
    if variable and isinstance(env, Mapping) and variable in env:
        words = f"sets ${variable}, which `env` sets as well; remove it there, or name the route's `port`"
        found.append(Problem(path, words))
    return found


def alone(component: Values, components: Sequence[Values]) -> str:
    """Why no two containers of ``component``, one of ``components``, can run at a time; "": they can."""
    if component.get("oneshot") is True:
        return "it runs to its end"
    if component.get("schedule") is not None:
        return "it is a job"
    if port := _fixed_port(component):
        return f"it publishes the port {port} of the node"
    for each in _list(component, "networks"):
        if isinstance(each, Mapping) and (address := each.get("ip") or each.get("ip6")):
            return f"it has the address {address}"
    listening = [route["port"] for route in _routes(component) if route.get("port")]
    if component.get("network") == "host" and listening:
        return f'with network = "host" it has the port {listening[0]} of the node; without `port`, mcpd sets $PORT'
    return _sharing(component, components)


def _fixed_port(component: Values) -> int:
    """A port of the node's that it has to have; 0: none."""
    for text in _list(component, "ports"):
        try:
            port = grammar.port(text)
        except (ValueError, TypeError):
            continue  # reported as the field's own problem
        if port.host:
            return port.host
    return 0


def _sharing(component: Values, components: Sequence[Values]) -> str:
    """Whose namespace it uses, or who uses one of it; "" for nobody."""
    for key, name in _named(component):
        return f"it uses the {key} namespace of {name}"
    for other in components:
        if any(name == component.get("name") for _, name in _named(other)):
            return f"{other.get('name')} uses a namespace of it"
    return ""


def _named(component: Values) -> list[tuple[str, str]]:
    """The namespaces of others that it uses, each with the component."""
    texts = ((key, component.get(key)) for key in _NAMESPACES)
    named = [(key, podman_notation.named_component(text)) for key, text in texts if isinstance(text, str)]
    return [(key, name) for key, name in named if name]


def _variable(route: Values) -> str:
    """As `protos.parts.Route.variable`."""
    if isinstance(name := route.get("name"), str):
        return f"PORT_{name.upper().replace('-', '_')}"
    return "" if route.get("port") else "PORT"


def _routes(component: Values) -> list[Values]:
    return [each for each in _list(component, "routes") if isinstance(each, Mapping)]


def _list(component: Values, key: str) -> Sequence[Any]:
    found = component.get(key)
    return found if isinstance(found, (list, tuple)) else ()
