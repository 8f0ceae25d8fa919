"""Services to export: one that is hostile, one that has everything, and one that is plain."""

from datetime import timedelta

from mcpctl.definitions.exporting.formats import Exported
from protos.parts import Heal, Health, Resources
from tests.support.builders import component, service

HOSTILE = (
    "a b",
    "'single' \"double\"",
    "$HOME ${HOME} $$ $(id) %h %%",
    "back\\slash\\",
    "line\nbreak\r\ttab",
    "\x01\x1b[2J\x7f\x9b",
    "é ☃ 🦀 \u2028",
    "# no comment",
    "yes",
    "0x1F",
    "1e3",
    "22:22",
    "- a",
    " lead and trail ",
)
EVERYTHING = component(
    network="mcpnet",
    user="1000:1001",
    restart="on-failure:3",
    ports=("127.0.0.1:8080:80", "53:53/udp"),
    volumes=("/srv/web:/data:ro", "cache:/cache"),
    cmd=("serve", "--name", "a b"),
    env={"LOG": "info", "ODD": "$x"},
    secrets=("key",),
    depends_on=("db",),
    stop_timeout=timedelta(seconds=2.5),
    heal=Heal.RESTART,
    health=Health(cmd=("check", "a b"), interval=timedelta(seconds=1.5)),
    resources=Resources(256 * 2**20, 0.5, 77),
)
FULL = service(EVERYTHING, component("db", image="postgres:16", health=Health(cmd=("pg_isready", "-q"))))
PLAIN = service(component("web", stop_timeout=timedelta(seconds=10)))


def losses(exported: Exported) -> list[str]:
    return [each.path for each in exported.losses]
