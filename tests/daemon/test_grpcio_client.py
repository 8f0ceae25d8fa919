"""A standard gRPC client, of code that protoc's own plugins generate from the contract, talks to the daemon."""

import importlib
import json
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from grpclib.health.v1 import health_pb2
from grpclib.reflection.v1 import reflection_pb2

from tests.support.waiting import DEADLINE_S, until

from .conftest import NODE, Daemon

CALL_S = 20.0
# Long enough for the call to reach the daemon, and far below the daemon's own deadline for podman.
SHORT_S = 3
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class Generated(NamedTuple):
    messages: ModuleType
    services: ModuleType


class Client(NamedTuple):
    """A stub that sends the admin's token, and the messages that it takes."""

    pb: Any
    stub: Any
    metadata: tuple[tuple[str, str], ...]

    def call(self, rpc: str, request: Any, timeout: float = CALL_S) -> Any:
        return getattr(self.stub, rpc)(request, metadata=self.metadata, timeout=timeout)


class Refusal(NamedTuple):
    status: grpc.StatusCode
    sentence: str


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """The generated modules are called `mcp.v1...`; they are importable only while they are imported here."""
    folder = tmp_path_factory.mktemp("generated")
    sources = Path(str(files("protos")))
    wellknown = files("grpc_tools").joinpath("_proto")
    arguments = [f"-I{sources}", f"-I{wellknown}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", *arguments, "mcp/v1/agent.proto"]) == 0
    outside = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "mcp"}
    for name in outside:
        del sys.modules[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        found = Generated(importlib.import_module("mcp.v1.agent_pb2"), importlib.import_module("mcp.v1.agent_pb2_grpc"))
    assert Path(str(found.messages.__file__)).is_relative_to(folder)
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        del sys.modules[name]
    sys.modules.update(outside)


@pytest.fixture(scope="module")
def client(generated: Generated, channel: grpc.Channel, daemon: Daemon) -> Client:
    return client_of(generated, channel, daemon)


def client_of(generated: Generated, channel: grpc.Channel, daemon: Daemon) -> Client:
    return Client(generated.messages, generated.services.AgentServiceStub(channel), daemon.bearer())


def refusal(call: Callable[[], Any]) -> Refusal:
    """How a call is refused; a stream is read to its end."""

    def to_its_end() -> None:
        answer = call()
        if isinstance(answer, grpc.Call):
            list(answer)

    with pytest.raises(grpc.RpcError) as raised:
        to_its_end()
    return Refusal(raised.value.code(), raised.value.details())


def from_mcpctl(daemon: Daemon, *words: str) -> Any:
    ran = daemon.mcpctl(*words, "--output", "json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


# ------------------------------------------------------------------------------------------------ the same answers


def word(message: Any, field: str) -> str:
    """An enum's value as mcpctl says it: DESIRED_STATE_RUNNING is running."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    return kind.values_by_number[getattr(message, field)].name.removeprefix(f"{field.upper()}_STATE_").lower()


def component_facts(info: Any) -> dict[str, Any]:
    plain = ("service", "component", "container", "image", "version", "drift", "container_id", "spec_hash", "pid")
    return {
        **{name: getattr(info, name) for name in plain},
        "ports": list(info.ports),
        "desired": word(info, "desired"),
        "observed": word(info, "observed"),
        "exit_code": info.exit_code if info.HasField("exit_code") else None,
    }


def service_facts(info: Any) -> dict[str, Any]:
    return {
        "node": info.node,
        "name": info.name,
        "active": info.active,
        "revision": info.revision,
        "updated_at": info.updated_at.ToJsonString(),
        "components": [component_facts(each) for each in info.components],
    }


def told(services: Any) -> list[dict[str, Any]]:
    """What mcpctl printed, with the keys that `component_facts` has."""
    facts = ["service", "component", "container", "image", "version", "drift", "container_id", "spec_hash", "pid"]
    facts += ["ports", "desired", "observed", "exit_code"]
    return [
        {**each, "components": [{key: component[key] for key in facts} for component in each["components"]]}
        for each in services
    ]


def test_list_services_says_what_mcpctl_list_says(client: Client, daemon: Daemon) -> None:
    response = client.call("ListServices", client.pb.ListServicesRequest())
    assert response.node == NODE
    listed = [service_facts(each) for each in response.services]
    assert listed == told(from_mcpctl(daemon, "list"))
    api, db = listed[1]["components"]
    assert [each["name"] for each in listed] == ["board", "web"]
    assert (api["version"], api["desired"], api["observed"]) == ("v1.7.0", "running", "exited")
    assert (db["version"], db["desired"], db["observed"]) == ("latest", "stopped", "unknown")
    assert listed[1]["updated_at"] == "2026-03-01T12:00:00Z"


def test_get_status_says_what_mcpctl_status_says_and_warns_of_podman(client: Client, daemon: Daemon) -> None:
    response = client.call("GetStatus", client.pb.GetStatusRequest(service="web", events=2))
    assert [service_facts(each) for each in response.services] == told(from_mcpctl(daemon, "status", "web"))
    assert [each.kind for each in response.events] == ["exited", "started"]
    assert "podman does not answer" in response.warning
    assert str(daemon.podman_socket) in response.warning


def test_node_status_says_what_mcpctl_node_show_says(client: Client, daemon: Daemon) -> None:
    response = client.call("NodeStatus", client.pb.NodeStatusRequest())
    (shown,) = from_mcpctl(daemon, "node", "show", NODE)
    steady = ("node", "mcpd_version", "podman_version", "services", "components", "operations_running")
    steady += ("disk_total_bytes", "memory_total_bytes", "cpus")
    assert {name: getattr(response, name) for name in steady} == {name: shown[name] for name in steady}
    assert (response.services, response.components, response.cpus > 0) == (2, 3, True)
    links = {each.name: each for each in response.links}
    assert set(links) == {"podman", "resync", "events", "registry"} == {each["name"] for each in shown["links"]}
    assert [each.name for each in links.values() if each.ok] == ["registry"]
    assert str(daemon.podman_socket) in links["podman"].detail


def test_list_events_says_what_mcpctl_events_says(client: Client, daemon: Daemon) -> None:
    response = client.call("ListEvents", client.pb.ListEventsRequest(service="web", component="api"))
    plain = ("id", "service", "component", "kind", "message", "caller")
    events = [{name: getattr(each, name) for name in plain} for each in response.events]
    shown = from_mcpctl(daemon, "events", "web/api")
    assert events == [{name: each[name] for name in plain} for each in shown]
    assert events[0]["message"] == "number 0, ünïcode"
    assert [each["kind"] for each in events] == ["deployed", "exited", "started"]


def test_filters_and_limits_are_the_servers(client: Client) -> None:
    newest = client.call("ListEvents", client.pb.ListEventsRequest(limit=1))
    assert [each.kind for each in newest.events] == ["started"]
    one = client.call("ListServices", client.pb.ListServicesRequest(service="board"))
    assert [each.name for each in one.services] == ["board"]
    first = client.call("ListServices", client.pb.ListServicesRequest(limit=1))
    assert len(first.services) == 1


# ------------------------------------------------------------------------------------------------ beside the contract


def test_health_says_serving_to_a_prober_without_a_token(channel: grpc.Channel) -> None:
    check = channel.unary_unary(
        HEALTH + "Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = check(health_pb2.HealthCheckRequest(), timeout=CALL_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def reflect(client: Client, channel: grpc.Channel, request: Any) -> Any:
    ask = channel.stream_stream(
        REFLECTION,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = ask(iter([request]), metadata=client.metadata, timeout=CALL_S)
    return answer


def test_reflection_lists_the_agents_service(client: Client, channel: grpc.Channel) -> None:
    answer = reflect(client, channel, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {each.name for each in answer.list_services_response.service}
    assert {"mcp.v1.AgentService", "grpc.health.v1.Health"} <= names


def forget_json_names(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    """They follow from the fields' names; only some descriptors carry them."""
    for message in messages:
        for each in message.field:
            each.ClearField("json_name")
        forget_json_names(message.nested_type)


def test_reflection_returns_the_contract(client: Client, channel: grpc.Channel) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="mcp.v1.AgentService")
    answer = reflect(client, channel, request)
    found = {}
    for serialized in answer.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
        found[file.name] = file
    wanted = descriptor_pb2.FileDescriptorProto()
    client.pb.DESCRIPTOR.CopyToProto(wanted)
    for file in (wanted, found["mcp/v1/agent.proto"]):
        forget_json_names(file.message_type)
    assert found["mcp/v1/agent.proto"] == wanted
    assert "google/protobuf/timestamp.proto" in {*found, *found["mcp/v1/agent.proto"].dependency}


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("path", ["/mcp.v1.AgentService/Explode", "/mcp.v2.AgentService/Plan", "/x/y"])
def test_an_unknown_method_is_unimplemented(channel: grpc.Channel, client: Client, path: str) -> None:
    refused = refusal(lambda: channel.unary_unary(path)(b"", metadata=client.metadata, timeout=CALL_S))
    assert refused.status is grpc.StatusCode.UNIMPLEMENTED
    assert path in refused.sentence


def test_a_deploy_of_rubbish_names_every_problem(client: Client) -> None:
    pb = client.pb
    rubbish = pb.ServiceSpec(
        name="Web!",
        node="",
        components=[
            pb.ComponentSpec(name="api", image="a b", ports=["99999:80", "eighty"], restart="perhaps"),
            pb.ComponentSpec(name="api", image="ok", volumes=["data"], depends_on=["nobody"], env={"A=B": "x"}),
            pb.ComponentSpec(name="db", image="ok", health=pb.Health(), secrets=["../x"], user="a:b:c"),
        ],
    )
    refused = refusal(lambda: client.call("Deploy", pb.DeployRequest(service=rubbish)))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    lines = refused.sentence.splitlines()
    problems = {
        "service: name: 'Web!' is not a name",
        "service: node: '' is not a name",
        "components[0].image: 'a b'",
        "components[0].ports[0]: '99999:80' has port 99999; a port is 1 to 65535",
        "components[0].ports[1]: 'eighty' is not a port mapping",
        "components[0].restart: 'perhaps'",
        "components[1].name: duplicate component 'api'",
        "components[1].volumes[0]: 'data' mounts at 'data'",
        "components[1].depends_on: names 'nobody'",
        "components[1].env.A=B: 'A=B'",
        "components[2].health: needs exactly one of cmd, http and tcp",
        "components[2].secrets[0]: '../x'",
        "components[2].user: 'a:b:c'",
    }
    assert [problem for problem in problems if not any(problem in line for line in lines)] == []


def test_a_deploy_for_another_node_is_refused(client: Client) -> None:
    spec = client.pb.ServiceSpec(name="web", node="n2", components=[client.pb.ComponentSpec(name="api", image="a")])
    refused = refusal(lambda: client.call("Deploy", client.pb.DeployRequest(service=spec)))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    assert "n2" in refused.sentence


@pytest.mark.parametrize("letter", ["x", "ü", "🦀", "%", "\n", "\0"])
def test_a_long_name_comes_back_in_a_sentence_that_clients_accept(client: Client, letter: str) -> None:
    """A status message is percent-encoded, up to 12 bytes a letter; clients refuse headers of more than 8 KiB."""
    spec = client.pb.ServiceSpec(name=letter * 20_000, node=NODE)
    refused = refusal(lambda: client.call("Deploy", client.pb.DeployRequest(service=spec)))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    assert "is not a name" in refused.sentence or "is empty" in refused.sentence
    # From here on clients refuse at random, to warn of the hard limit at twice as much.
    assert len(quote(refused.sentence)) < 8 * 1024


@pytest.mark.parametrize("rpc", ["StartService", "StopService", "RestartService", "UndeployService"])
def test_a_change_without_a_service_is_refused(client: Client, rpc: str) -> None:
    refused = refusal(lambda: client.call(rpc, getattr(client.pb, f"{rpc}Request")()))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    assert "service" in refused.sentence


@pytest.mark.parametrize("rpc", ["ListServices", "LiveCheck", "GetStatus"])
def test_a_name_that_cannot_be_one_is_refused(client: Client, rpc: str) -> None:
    request = getattr(client.pb, f"{rpc}Request")(service="../etc")
    assert refusal(lambda: client.call(rpc, request)).status in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAVAILABLE,
    )


@pytest.mark.parametrize("rpc", ["ListServices", "GetStatus"])
def test_a_service_that_is_not_deployed_is_not_found(client: Client, rpc: str) -> None:
    refused = refusal(lambda: client.call(rpc, getattr(client.pb, f"{rpc}Request")(service="nobody")))
    assert refused.status is grpc.StatusCode.NOT_FOUND
    assert "no service nobody" in refused.sentence


def test_live_check_without_podman_is_unavailable_and_says_why(client: Client, daemon: Daemon) -> None:
    refused = refusal(lambda: client.call("LiveCheck", client.pb.LiveCheckRequest()))
    assert refused.status is grpc.StatusCode.UNAVAILABLE
    assert "podman does not answer" in refused.sentence
    assert str(daemon.podman_socket) in refused.sentence


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff\xff\xff\xff\x7f", b"\x0a\x02\xc3\x28", b"\x0f", b"\x00" * 100])
def test_bytes_that_are_no_message_do_not_crash_the_call(channel: grpc.Channel, client: Client, body: bytes) -> None:
    """Some of them decode: then the call is answered, or refused for what it means."""
    for path in ("ListServices", "StopService"):
        call = channel.unary_unary(f"/mcp.v1.AgentService/{path}").future(
            body, metadata=client.metadata, timeout=CALL_S
        )
        assert call.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), call.details()


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253402300800, -62135596801])
def test_a_time_that_no_calendar_has_is_an_invalid_argument(client: Client, seconds: int) -> None:
    request = client.pb.ListEventsRequest()
    request.since.seconds = seconds
    refused = refusal(lambda: client.call("ListEvents", request))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.sentence


def test_a_duration_that_no_program_holds_is_an_invalid_argument(client: Client) -> None:
    component = client.pb.ComponentSpec(name="api", image="a")
    component.stop_timeout.seconds = 2**62
    spec = client.pb.ServiceSpec(name="web", node=NODE, components=[component])
    refused = refusal(lambda: client.call("Deploy", client.pb.DeployRequest(service=spec)))
    assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.sentence


# ------------------------------------------------------------------------------------------------ clients that leave


class Hanging(NamedTuple):
    """A daemon whose podman accepts and never answers: what asks it takes as long as the daemon is patient."""

    daemon: Daemon
    channel: grpc.Channel
    client: Client
    podman: socket.socket
    connections: list[socket.socket]

    def wait_for_questions(self, count: int) -> None:
        """Returns when podman was asked for its containers by ``count`` calls."""
        while count:
            connection, _ = self.podman.accept()
            connection.settimeout(DEADLINE_S)
            self.connections.append(connection)
            count -= b"/containers/" in connection.recv(4096)

    def cancelled_calls(self) -> int:
        return sum('"LiveCheck"' in line and '"CANCELLED"' in line for line in self.daemon.log.splitlines())

    def live_check(self, client: Client) -> grpc.Future:
        future: grpc.Future = client.stub.LiveCheck.future(
            client.pb.LiveCheckRequest(), metadata=client.metadata, timeout=DEADLINE_S
        )
        return future

    def check_unharmed(self, cancelled: int) -> None:
        """The daemon has ended so many calls, and answers the others."""
        until(lambda: self.cancelled_calls() >= cancelled, f"{cancelled} calls are logged as cancelled")
        assert self.client.call("ListServices", self.client.pb.ListServicesRequest()).node == NODE
        assert self.cancelled_calls() == cancelled
        assert "Traceback" not in self.daemon.log


@pytest.fixture
def hanging(generated: Generated, node: Daemon) -> Iterator[Hanging]:
    node.start()
    with socket.socket(socket.AF_UNIX) as podman, node.channel() as channel:
        podman.bind(str(node.podman_socket))
        podman.listen(128)
        podman.settimeout(DEADLINE_S)
        connections: list[socket.socket] = []
        yield Hanging(node, channel, client_of(generated, channel, node), podman, connections)
        for each in connections:
            each.close()


def test_a_deadline_that_passes_ends_the_call_and_harms_nobody(hanging: Hanging) -> None:
    client = hanging.client
    pending = client.stub.LiveCheck.future(client.pb.LiveCheckRequest(), metadata=client.metadata, timeout=SHORT_S)
    # It has come so far: of a call whose time is over before mcpd has read it nothing is logged.
    hanging.wait_for_questions(1)
    assert refusal(pending.result).status is grpc.StatusCode.DEADLINE_EXCEEDED
    hanging.check_unharmed(cancelled=1)


def test_clients_that_cancel_end_their_calls_and_harm_nobody(hanging: Hanging) -> None:
    pending = [hanging.live_check(hanging.client) for _ in range(20)]
    hanging.wait_for_questions(len(pending))
    for each in pending:
        each.cancel()
    assert all(each.cancelled() for each in pending)
    hanging.check_unharmed(cancelled=len(pending))


def test_clients_that_hang_up_in_the_middle_of_a_call_harm_nobody(generated: Generated, hanging: Hanging) -> None:
    with hanging.daemon.channel() as channel:
        pending = hanging.live_check(client_of(generated, channel, hanging.daemon))
        hanging.wait_for_questions(1)
    assert pending.done()
    hanging.check_unharmed(cancelled=1)


def test_a_podman_that_hangs_stops_nobody_from_reading_the_registry(hanging: Hanging) -> None:
    pending = hanging.live_check(hanging.client)
    hanging.wait_for_questions(1)
    assert hanging.client.call("ListServices", hanging.client.pb.ListServicesRequest()).node == NODE
    assert not pending.done()
    pending.cancel()


def test_a_deploy_goes_on_without_its_client_and_says_so_to_the_next(hanging: Hanging) -> None:
    client = hanging.client
    spec = client.pb.ServiceSpec(name="web", node=NODE, components=[client.pb.ComponentSpec(name="api", image="a")])
    request = client.pb.DeployRequest(service=spec)
    first = client.call("Deploy", request)
    hanging.wait_for_questions(1)
    first.cancel()
    refused = refusal(lambda: client.call("Deploy", request))
    assert refused.status is grpc.StatusCode.ABORTED
    assert "admin" in refused.sentence
