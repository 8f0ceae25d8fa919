"""A definition on its way to a node: whole, or refused; never with something left out."""

from __future__ import annotations

import pytest
from hypothesis import given

from protos import wire
from protos.mcp import v1
from protos.parts import Health, NetworkDeclaration, Resources
from protos.spec import Component, Service, examine_service
from protos.validation import Invalid
from tests.support.builders import component, service
from tests.support.strategies import services


@given(services())
def test_a_service_arrives_as_it_was_sent(sent: Service) -> None:
    arrived = v1.ServiceSpec().parse(bytes(wire.service_spec(sent)))
    assert examine_service(wire.service_values(arrived)) == (sent, [])


def test_every_field_of_a_definition_has_its_place_in_the_contract() -> None:
    for struct, message in wire._MESSAGES.items():
        fields = set(message()._betterproto.meta_by_field_name)
        called = wire._CALLED.get(struct, {})
        assert {called.get(name, name) for name in wire._fields(struct)} <= fields, struct


@pytest.mark.parametrize(
    "new",
    [
        component(workdir="/data"),
        component(entrypoint=()),
        component(oneshot=True),
        component(health=Health(disable=True)),
        component(resources=Resources(memory_swap=-1)),
        component(volumes=("/data",), shm_size=1),
    ],
)
def test_what_an_older_mcpd_would_leave_out_it_is_not_sent_in_a_way_that_it_reads(new: Component) -> None:
    """It refuses a service without components, and deploys nothing else than was declared."""
    message = wire.service_spec(service(new))
    assert message.components == []
    assert len(message.extended_components) == 1


def test_what_every_mcpd_knows_goes_the_way_that_every_mcpd_reads() -> None:
    old = component(network="x", secrets=("a",), health=Health(tcp="a:1"), resources=Resources(memory=1))
    assert len(wire.service_spec(service(old)).components) == 1
    declared = service(old, networks={"x": NetworkDeclaration()})
    assert wire.service_spec(declared).components == []


@pytest.mark.parametrize("where", ["service", "component", "part"])
def test_what_a_newer_one_says_and_this_one_does_not_know_is_refused(where: str) -> None:
    unknown = b"\xfa\x3f\x01x"  # field 1023
    message = wire.service_spec(service(component(health=Health(tcp="a:1"))))
    part = message.components[0].health
    if where == "part":
        message.components[0].health = v1.Health().parse(bytes(part) + unknown)
    elif where == "component":
        message.components[0] = v1.ComponentSpec().parse(bytes(message.components[0]) + unknown)
    else:
        message = v1.ServiceSpec().parse(bytes(message) + unknown)
    with pytest.raises(Invalid, match="update the older one of mcpctl and mcpd"):
        wire.service_values(message)
