"""What the proxy should have, of what is recorded and of the containers there are; and which routes are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mcpd.model import LAST, NEXT, Container, RecordedComponent, RecordedService
from mcpd.routing import claims, desired
from mcpd.routing.desired import Routed
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server
from mcpd.runtime.route_ports import LABEL_ROUTE_PORTS
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from protos.parts import Mode, Route
from protos.spec import Component, Service, examine_service

NOW = datetime(2026, 11, 30, tzinfo=UTC)
PLAIN, SECURE = Listener(80, "0.0.0.0", False), Listener(443, "0.0.0.0", True)
BOTH = (PLAIN, SECURE)
WEB = Component("web", "x:v1", routes=(Route("shop.example.net", port=8080),))


def container(name: str, number: str = "a", port: int = 20000, state: Observed = Observed.RUNNING) -> Container:
    labels = {"mcp.service": "shop", "mcp.component": "web", LABEL_ROUTE_PORTS: f"8080={port}/8080"}
    return Container(number * 64, name, "x:v1", "", state, 1, None, NOW, None, (), labels)


def recorded(name: str, *components: Component, desired_state: Desired = Desired.RUNNING) -> RecordedService:
    return RecordedService(
        name,
        True,
        1,
        NOW,
        tuple(
            RecordedComponent(name, each, spec_hash(each), "", desired_state, Observed.RUNNING, None, "", each)
            for each in components
        ),
    )


def judged(*containers: Container, admitted: str = "ab", withdrawn: str = "", maintenance: bool = False) -> Routed:
    return desired.routed(
        "shop",
        WEB,
        containers,
        lambda each: each.id[0] in admitted,
        {each * 64 for each in withdrawn},
        in_maintenance=maintenance,
    )


def names(of: tuple[Container, ...]) -> list[str]:
    return [each.name for each in of]


@pytest.mark.parametrize(
    ("found", "ready", "draining"),
    [
        (judged(container("shop-web")), ["shop-web"], []),
        # What waits to take over answers nobody, whatever it is.
        (judged(container("shop-web"), container(f"shop-web{NEXT}", "b")), ["shop-web"], []),
        # It has taken over: what was before finishes.
        (judged(container(f"shop-web{LAST}"), container("shop-web", "b")), ["shop-web"], [f"shop-web{LAST}"]),
        # It has not been found to be up: what was before goes on.
        (judged(container(f"shop-web{LAST}"), container("shop-web", "b"), admitted="a"), [f"shop-web{LAST}"], []),
        # Between the two renames.
        (judged(container(f"shop-web{LAST}"), container(f"shop-web{NEXT}", "b")), [f"shop-web{LAST}"], []),
        # It is put back.
        (
            judged(container(f"shop-web{LAST}"), container("shop-web", "b"), withdrawn="b"),
            [f"shop-web{LAST}"],
            ["shop-web"],
        ),
        (judged(container("shop-web"), withdrawn="a"), [], ["shop-web"]),
        (judged(container("shop-web"), maintenance=True), [], ["shop-web"]),
        (judged(container("shop-web", state=Observed.PAUSED)), [], []),
        (judged(container("shop-web", state=Observed.EXITED)), [], []),
        (judged(container("shop-web"), admitted=""), [], []),
        (judged(), [], []),
    ],
)
def test_who_answers(found: Routed, ready: list[str], draining: list[str]) -> None:
    assert (names(found.ready), names(found.draining)) == (ready, draining)


def test_a_table_has_every_route_and_the_containers_behind_it() -> None:
    api = Component(
        "api", "x:v1", routes=(Route("shop.example.net", path="/api", listen=80), Route("a.b", listen=8000))
    )
    every = [judged(container("shop-web")), Routed("shop", api, (), ())]
    found = desired.table(every, BOTH, ())
    assert found.entries == (
        Entry(80, "shop.example.net", "/api", "shop.api.port"),
        Entry(443, "shop.example.net", "/", "shop.web.8080"),
    )
    assert found.backends == (
        Backend("shop.api.port", Mode.HTTP),
        Backend("shop.web.8080", Mode.HTTP, (Server("a" * 12, "127.0.0.1", 20000),)),
    )
    # Nothing that nobody needs to know: the proxy does not listen there.
    assert "a.b" not in repr(found)


def test_equal_states_have_equal_tables_whatever_their_order() -> None:
    one, other = judged(container("shop-web")), Routed("blog", WEB, (), ())
    assert desired.table([one, other], BOTH, ()) == desired.table([other, one], BOTH[::-1], ())


def test_a_container_that_was_made_before_it_had_the_route_is_left_out() -> None:
    named = Component("web", "x:v1", routes=(Route("shop.example.net", port=9090),))
    found = desired.table([Routed("shop", named, (container("shop-web"),), ())], BOTH, ())
    assert found.backend("shop.web.9090").servers == ()


def test_what_is_deployed_counts_until_a_deploy_is_about_to_commit() -> None:
    renewed = Component("web", "x:v2", routes=(Route("new.example.net"),))
    services = [recorded("shop", WEB, Component("db", "x"))]
    assert desired.in_force(services, {}) == {"shop": (WEB,)}
    assert desired.in_force(services, {"shop": [renewed]}) == {"shop": (renewed,)}
    assert desired.in_force(services, {"blog": [WEB]}) == {"shop": (WEB,), "blog": (WEB,)}
    assert desired.in_force(services, {"shop": [Component("web", "x:v2")]}) == {}
    # What nobody declares any more runs on, and answers on.
    assert desired.in_force([recorded("shop", WEB, desired_state=Desired.IGNORE)], {}) == {"shop": (WEB,)}


# -- what is refused


def refused(route: Route, *others: RecordedService, listeners: tuple[Listener, ...] | None = BOTH) -> tuple[str, ...]:
    service = Service("blog", "rift", (Component("app", "x", routes=(route,)),))
    return claims.conflicts(service, {"app"}, others, listeners)


def test_a_route_needs_a_proxy() -> None:
    (words,) = refused(Route("a.b"), listeners=None)
    assert words.startswith("blog/app has a route, but mcpd was told of no proxy on this node: [proxy] in mcpd.toml")


def test_a_route_needs_a_port_that_the_proxy_listens_on() -> None:
    (words,) = refused(Route("a.b", listen=8080))
    assert "blog/app wants a.b on port 8080, where the proxy does not listen: it has 80, 443" in words
    (words,) = refused(Route("a.b", mode=Mode.TLS, listen=80))
    assert words == 'blog/app wants a.b with mode = "tls" on port 80, where the proxy has no TLS'
    assert refused(Route("a.b", mode=Mode.TLS)) == ()


def test_what_two_services_claim_is_refused_and_both_are_named() -> None:
    (words,) = refused(Route("shop.example.net"), recorded("shop", WEB))
    assert words.startswith("blog/app claims shop.example.net on port 443, which shop/web has")
    # Another path, another port and another host are none of its.
    for route in (Route("shop.example.net", path="/blog"), Route("shop.example.net", listen=80), Route("a.b")):
        assert refused(route, recorded("shop", WEB)) == ()
    (words,) = refused(Route("shop.example.net", mode=Mode.TLS, path="/"), recorded("shop", WEB))
    assert "shop/web" in words
    (words,) = refused(
        Route("shop.example.net", mode=Mode.TLS),
        recorded("shop", Component("web", "x", routes=(Route("shop.example.net", path="/api"),))),
    )
    assert "with mode tls, which shop/web has with mode http" in words
    # Of a service's own routes only one definition speaks.
    assert refused(Route("a.b"), recorded("blog", Component("app", "x", routes=(Route("a.b"),)))) == ()


def certificate(*names_: str, until: datetime = NOW) -> Certificate:
    return Certificate(Path("/certs/x.pem"), names_, until, "f")


def test_the_certificate_for_a_host_may_be_a_wildcard_of_one_label_and_is_the_one_that_lasts() -> None:
    exact, wild = certificate("shop.example.net"), certificate("*.example.net", until=NOW.replace(year=2027))
    assert claims.certificate_for("shop.example.net", [exact, wild]) is wild
    assert claims.certificate_for("shop.example.net", [exact]) is exact
    assert claims.certificate_for("a.shop.example.net", [wild]) is None
    assert claims.certificate_for("*.example.net", [wild]) is wild
    service = Service("shop", "rift", (WEB,))
    assert claims.without_certificate(service, {"web"}, BOTH, [wild]) == ()
    (words,) = claims.without_certificate(service, {"web"}, BOTH, [])
    assert words.startswith("shop/web: no certificate in the proxy's folder is for shop.example.net")


# -- what one definition may not say


def problems(*components: dict[str, Any]) -> str:
    _, found = examine_service({"name": "shop", "node": "rift", "components": list(components)})
    return "; ".join(f"{each.path} {each.message}" for each in found)


def web(**values: Any) -> dict[str, Any]:
    return {"name": "web", "image": "x", **values}


ROUTE = {"host": "a.b"}


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (web(routes=[ROUTE, ROUTE]), "routes[1] claims a.b/ on port 443, which components[0].routes[0] already claims"),
        (web(routes=[ROUTE], oneshot=True), "cannot be used with oneshot"),
        (web(routes=[ROUTE], network="none"), 'cannot be used with network = "none"'),
        (web(routes=[ROUTE], env={"PORT": "1"}), "sets $PORT, which `env` sets as well"),
        (web(routes=[{**ROUTE, "mode": "tls", "path": "/x"}]), 'path cannot be used with mode = "tls"'),
        (
            web(routes=[{**ROUTE, "port": 1}, {"host": "c.d", "port": 1, "mode": "grpc"}]),
            "send grpc and http to the one port 1",
        ),
        (web(update="start-first", ports=["80:80"]), "two of it cannot run at a time: it publishes the port 80"),
        (web(update="start-first", networks=[{"name": "n", "ip": "10.1.1.1"}]), "it has the address 10.1.1.1"),
        (web(routes=[{**ROUTE, "port": 1}], network="host", update="start-first"), "it has the port 1 of the node"),
        (web(update="start-first", oneshot=True), "it runs to its end"),
    ],
)
def test_what_a_definition_may_not_say_of_routes(component: dict[str, Any], words: str) -> None:
    assert words in problems(component)


def test_who_shares_a_namespace_is_alone() -> None:
    sharing = {"name": "side", "image": "x", "network": "component:web"}
    assert "side uses a namespace of it" in problems(web(update="start-first"), sharing)
    assert "it uses the network namespace of web" in problems(web(), {**sharing, "update": "start-first"})
    assert "the network is web's, so route to web" in problems(web(), {**sharing, "routes": [ROUTE]})


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ({"routes": (Route("a.b"),)}, True),
        ({"routes": (Route("a.b"),), "ports": ("127.0.0.1:80:80",)}, False),
        ({"routes": (Route("a.b"),), "ports": ("80",)}, True),
        ({"routes": (Route("a.b", port=80),), "network": "host"}, False),
        ({"routes": (Route("a.b"),), "network": "host"}, True),
        ({}, False),
    ],
)
def test_the_default_is_to_start_first_where_two_can_run(values: dict[str, Any], first: bool) -> None:
    component = Component("web", "x", **values)
    assert Service("shop", "rift", (component,)).starts_first(component) is first


def test_a_component_is_told_of_the_ports_that_mcpd_chooses() -> None:
    routes = (Route("a.b"), Route("c.d"), Route("e.f", name="big-admin"), Route("g.h", port=8080), Route("i.j", port=1))
    found = {each.name: (each.number, each.variables) for each in Component("web", "x", routes=routes).route_ports}
    assert found == {
        "port": (8081, ("PORT",)),
        "big-admin": (8082, ("PORT_BIG_ADMIN",)),
        "8080": (8080, ()),
        "1": (1, ()),
    }


def test_what_a_container_is_made_from_are_the_ports_and_not_where_they_are_reached() -> None:
    def hashed(*routes: Route) -> str:
        return spec_hash(Component("web", "x", routes=routes))

    assert hashed(Route("a.b", port=80)) == hashed(Route("c.d", port=80, path="/x", listen=80), Route("e.f", port=80))
    assert len({hashed(), hashed(Route("a.b")), hashed(Route("a.b", port=80)), hashed(Route("a.b", name="x"))}) == 4
