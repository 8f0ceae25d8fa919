"""What a service's components print, followed."""

from __future__ import annotations

import asyncio

from rich.text import Text
from textual.widgets import RichLog

from mcpctl.actions.dash.table import style
from mcpctl.config import Node, Settings
from mcpctl.errors import BusyError, CliError, UnreachableError
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.nodes.follow import WITHOUT_END_S
from mcpctl.ui import render
from protos.mcp import v1

# Of each component, when it is looked at.
_TAIL = 200
_MOST = 10_000
_WAIT_S = 2.0


class PrintedPane(RichLog):
    """The last lines and those that come. After a break it begins anew, so that none is missing or there twice."""

    def __init__(self, settings: Settings, node: Node, service: str) -> None:
        super().__init__(max_lines=_MOST, wrap=False)
        self._settings = settings
        self._node = node
        self._request = v1.LogsRequest(service=service, follow=True, tail=_TAIL)

    def on_mount(self) -> None:
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                self.clear()
                await self._read()
                problem = f"node {self._node.name} closed the stream"
            except (UnreachableError, BusyError) as error:
                problem = str(error)
            except CliError as error:
                self.write(Text(str(error), "red"))
                return
            self.write(Text(f"{problem}; retrying", "red"))
            await asyncio.sleep(_WAIT_S)

    async def _read(self) -> None:
        async with agent(self._settings, self._node, deadline=read_deadline()) as stub:
            async for response in stub.logs(self._request, timeout=WITHOUT_END_S):
                line = response.line.decode(errors="replace").removesuffix("\r")
                # Its colours are kept, and nothing else of what a terminal would act on.
                text = Text.from_ansi(line)
                text.plain = render.one_line(text.plain)
                self.write(Text.assemble((f"{response.component} | ", style("cyan")), text))
