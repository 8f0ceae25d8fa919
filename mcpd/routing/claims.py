"""Why a service cannot have its routes: found by plan, before anything is touched. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from mcpd.model import RecordedService
from mcpd.routing.table import Certificate, Listener
from monitor.model import Desired
from protos.parts import Mode, Route
from protos.spec import Component, Service

NO_PROXY = (
    "has a route, but mcpd was told of no proxy on this node: [proxy] in mcpd.toml says which one there is "
    "(docs/routes.md)"
)


class _Claim(NamedTuple):
    listen: int
    host: str
    path: str


class _Holder(NamedTuple):
    """A component that has a claim, with the mode of its route; ``is_own``: of the service that is deployed."""

    name: str
    mode: Mode
    is_own: bool

    @property
    def remedy(self) -> str:
        service = self.name.partition("/")[0]
        both = f"deploy both, `mcpctl deploy {service}`, or `mcpctl undeploy {self.name}`"
        return both if self.is_own else "change `routes` of one of the two"


def conflicts(
    service: Service,
    selected: Collection[str],
    others: Iterable[RecordedService],
    listeners: Sequence[Listener] | None,
) -> tuple[str, ...]:
    """A sentence for each route of the ``selected`` components that cannot be. No ``listeners``: no proxy."""
    found = []
    claimed = _claims(others, service.name, selected)
    ports = {each.port: each for each in listeners or ()}
    for each in service.components:
        if each.name not in selected or not each.routes:
            continue
        who = f"{service.name}/{each.name}"
        if listeners is None:
            found.append(f"{who} {NO_PROXY}")
            continue
        for route in each.routes:
            found += _of_listener(who, route, ports)
            found += _claimed_already(who, route, claimed)
    return tuple(found)


def _of_listener(who: str, route: Route, ports: Mapping[int, Listener]) -> list[str]:
    listener = ports.get(route.listen)
    if listener is None:
        known = ", ".join(map(str, sorted(ports)))
        return [
            f"{who} wants {route.host} on port {route.listen}, where the proxy does not listen: it has {known}; "
            "write one of them as `listen`, or add a [[proxy.listeners]] to mcpd.toml and restart mcpd"
        ]
    if route.mode is Mode.TLS and not listener.tls:
        return [f'{who} wants {route.host} with mode = "tls" on port {route.listen}, where the proxy has no TLS']
    return []


def _claimed_already(who: str, route: Route, claimed: Mapping[_Claim, _Holder]) -> list[str]:
    for claim, holder in claimed.items():
        if (claim.listen, claim.host) != (route.listen, route.host):
            continue
        if claim.path == route.path:
            what = f"{route.host}{'' if route.path == '/' else route.path} on port {route.listen}"
            return [f"{who} claims {what}, which {holder.name} has; {holder.remedy}"]
        if Mode.TLS in (holder.mode, route.mode) and holder.mode is not route.mode:
            return [
                f"{who} claims {route.host} on port {route.listen} with mode {route.mode}, which {holder.name} has "
                f"with mode {holder.mode}: TLS is passed through for all of a host, or for nothing of it"
            ]
    return []


def _claims(others: Iterable[RecordedService], of: str, selected: Collection[str]) -> dict[_Claim, _Holder]:
    """What other services have, and what they are declared to have; and what components have that stay as they are."""
    found: dict[_Claim, _Holder] = {}
    for service in others:
        for each in service.components:
            is_own = service.name == of
            if is_own and each.spec.name in selected:
                continue
            specs: Sequence[Component] = each.specs[-1:] if each.desired is Desired.IGNORE else each.specs
            if is_own:
                specs = (each.deployed,) if each.deployed else ()
            for spec in specs:
                for route in spec.routes:
                    claim = _Claim(route.listen, route.host, route.path)
                    found.setdefault(claim, _Holder(f"{service.name}/{spec.name}", route.mode, is_own=is_own))
    return found


def without_certificate(
    service: Service, selected: Collection[str], listeners: Sequence[Listener], certificates: Sequence[Certificate]
) -> tuple[str, ...]:
    """Warnings: hosts whose TLS the proxy ends, and that no certificate is for."""
    with_tls = {each.port for each in listeners if each.tls}
    hosts = {
        (f"{service.name}/{each.name}", route.host)
        for each in service.components
        if each.name in selected
        for route in each.routes
        if route.listen in with_tls and route.mode is not Mode.TLS
    }
    return tuple(
        f"{who}: no certificate in the proxy's folder is for {host}, so browsers will refuse it; put one there "
        "(docs/routes.md)"
        for who, host in sorted(hosts)
        if certificate_for(host, certificates) is None
    )


def certificate_for(host: str, certificates: Iterable[Certificate]) -> Certificate | None:
    """The certificate for a host, exact or a wildcard: of several the one that is valid longest.

    Whether it names the host, or a wildcard does, makes no difference. Every adapter has its proxy serve this one.
    """
    wildcard = f"*.{host.partition('.')[2]}"
    fitting = [each for each in certificates if host in each.names or wildcard in each.names]
    return max(fitting, key=lambda each: (each.until, each.path), default=None)
