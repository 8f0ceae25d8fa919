"""HAProxy, in master-worker mode: its configuration is ours, and its workers are told over the master's socket.

A change of servers is made in the running workers, and written down for the next one. Any other change is checked,
written, and loaded by new workers, which take over the open ports (`haproxy -W -S SOCKET -f CONFIG`; HAProxy 2.6 and
later). A worker from before a reload lives on with its connections. It takes no commands about servers ("Proxy is
disabled"), so it sends what still comes over them to the new worker: see `haproxy_config`.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import structlog
import trio

from mcpd.routing import haproxy_config
from mcpd.routing.haproxy_certificates import identity, loaded_identity
from mcpd.routing.haproxy_disk import Disk
from mcpd.routing.haproxy_master import COMMAND_S, Master, field, not_understood, rows
from mcpd.routing.haproxy_ports import holder_of, is_near
from mcpd.routing.haproxy_servers import SHOW, Servers, changes, different_servers, is_consent, parsed
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Certificate, Table

log = structlog.get_logger()

# `haproxy -c` reads every certificate.
_CHECK_S = 30.0
# New workers read the same as a check does, and on a busy machine besides the old ones.
_RELOAD_S = 60.0
_POLL_S = 0.05
_SHOW_FRONTENDS = "show stat -1 1 -1"


class _RejectedError(ProxyError):
    """HAProxy does not take the configuration, and runs on with the one before."""


class HAProxy:
    """Satisfies `mcpd.routing.proxy.Proxy`.

    ``config``: what mcpd writes and HAProxy reads; its folder must be writable. ``socket``: the master's. ``program``:
    checks configurations; empty: none does, and HAProxy itself rejects what is wrong. ``command_deadline``: seconds
    for an answer to one command.
    """

    def __init__(self, config: Path, socket: Path, program: str = "", *, command_deadline: float = COMMAND_S) -> None:
        self._config = config
        self._program = program
        self._master = Master(socket, config, command_deadline)
        self._disk = Disk(config)

    async def differences(self, table: Table) -> tuple[str, ...]:
        wanted = haproxy_config.text(table, self._config)
        found = list(await self._differences_on_disk(table, wanted))
        worker = (await self._master.processes()).workers[0]
        if await self._description(worker.pid) != haproxy_config.description(wanted):
            return (*found, "another configuration is loaded")
        found += [f"port {port} is closed" for port in (await self._closed(worker.pid, table)).values()]
        found += different_servers(table.backends, await self._servers(worker.pid))
        stale = await self._stale(worker.pid, await self._contents(table))
        found += [f"another certificate is loaded than is in {path}" for path in stale]
        return tuple(found)

    async def apply(self, table: Table) -> None:
        wanted = haproxy_config.text(table, self._config)
        # What is wrong with one service's route must not keep the servers of all others from being changed.
        rejected: _RejectedError | None = None
        try:
            await self._load(table, wanted)
        except _RejectedError as error:
            rejected = error
        newest = (await self._master.processes()).workers[0]
        refusals = await self._change_servers(newest.pid, table)
        if rejected is not None:
            raise rejected
        await self._renew(table, wanted)
        newest = (await self._master.processes()).workers[0]
        await self._open(newest.pid, table, wanted)
        left = await self.differences(table)
        if left:
            raise ProxyError(f"HAProxy does not have what it was told to: {'; '.join((*left, *refusals))}")

    # The configuration.

    async def _load(self, table: Table, wanted: str) -> None:
        """Has ``wanted`` on disk, and its structure running. Raises ProxyError; _RejectedError: HAProxy runs as before.

        The file is first: HAProxy may be about to start.
        """
        before = await self._disk.read(self._config)
        # A file that was changed by hand may have been loaded since, under the name of what it was before.
        known = before is not None and haproxy_config.is_intact(before)
        same = known and haproxy_config.description(before or "") == haproxy_config.description(wanted)
        if not same:
            try:
                await self._check(table, wanted)
            except _RejectedError:
                await self._keep(before, table)
                raise
        await self._write_list(table)
        if before != wanted:
            await self._disk.write(self._config, wanted)
        newest = (await self._master.processes()).workers[0]
        running = await self._description(newest.pid)
        if running == haproxy_config.description(wanted) and (known or before is None):
            return
        try:
            await self._find_taken(newest.pid, table)
            await self._reload(wanted)
        except _RejectedError:
            await self._keep(before, table)
            raise
        await self._remove_other_lists(table)

    async def _keep(self, before: str | None, table: Table) -> None:
        """Leaves the structure of ``before`` on disk, with the present servers: HAProxy may start with it."""
        if before is not None:
            known = haproxy_config.is_intact(before)
            kept = haproxy_config.with_servers(before, table.backends) if known else before
            await self._disk.write(self._config, kept)

    async def _check(self, table: Table, wanted: str) -> None:
        """Raises _RejectedError, or ProxyError when it cannot be checked."""
        await self._write_list(table)
        if not self._program:
            return
        trial = self._config.with_name(f".{self._config.name}.check")
        await self._disk.write(trial, wanted)
        try:
            with trio.fail_after(_CHECK_S):
                done = await trio.run_process(
                    [self._program, "-c", "-f", str(trial)],
                    capture_stdout=True,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
        except trio.TooSlowError:
            raise ProxyError(
                f"`{self._program} -c` did not end within {_CHECK_S:.0f} s: is a certificate on a disk that hangs?"
            ) from None
        except OSError as error:
            raise ProxyError(
                f"{self._program} cannot be run to check HAProxy's configuration: {error.strerror}; install it, or"
                " name it in [proxy] of mcpd.toml"
            ) from None
        finally:
            # Also when mcpd ends; the disk has a deadline.
            with trio.CancelScope(shield=True):
                await self._disk.remove(trial)
        if done.returncode:
            reason = _first_alert(done.stdout.decode(errors="replace")).replace(str(trial), str(self._config))
            raise _RejectedError(f"HAProxy rejects the configuration, and the one before stays: {reason}")

    async def _find_taken(self, pid: int, table: Table) -> None:
        """Raises _RejectedError when somebody else has a port that is new.

        HAProxy would find out only after it has closed its own ports, for the second or two that it tries.
        """
        if not is_near(pid):
            return
        own = haproxy_config.own_ports(await self._open_frontends(pid))
        workers = {worker.pid for worker in (await self._master.processes()).workers}
        closed = frozenset((await self._closed(pid, table)).values())
        for listener in table.listeners:
            if listener.port not in closed - own:
                continue
            both = haproxy_config.is_in_both_families(table, listener)
            holder = await holder_of(listener, both=both, but=workers)
            if holder is not None:
                raise _RejectedError(
                    f"another program listens on port {listener.port}, {holder}, and HAProxy runs on with the"
                    f" configuration before: end that program (`ss -tlnp sport = :{listener.port}`), or move the route"
                )

    async def _reload(self, wanted: str) -> None:
        before = await self._master.processes()
        answer = await self._master.say("reload")
        known = {worker.pid for worker in before.workers}
        failed = False
        with trio.move_on_after(_RELOAD_S):
            while not failed:
                # The master starts itself again, and its socket refuses meanwhile.
                with contextlib.suppress(ProxyError):
                    now = await self._master.processes()
                    failed = now.failed > before.failed
                    newest = now.workers[0].pid
                    if newest not in known and await self._description(newest) == haproxy_config.description(wanted):
                        return
                await trio.sleep(_POLL_S)
        if failed:
            reason = _first_alert(answer) if "[ALERT]" in answer else "its own log says why"
            raise _RejectedError(f"HAProxy could not load the configuration, and runs on with the one before: {reason}")
        raise ProxyError(
            f"HAProxy was told to reload, and within {_RELOAD_S:.0f} s no worker had the new configuration: does it"
            f" read {self._config}? Its own log may say why"
        )

    async def _open(self, pid: int, table: Table, wanted: str) -> None:
        """Opens ports that somebody has closed."""
        for name in await self._closed(pid, table):
            await self._master.ask(pid, f"enable frontend {name}")
        if await self._closed(pid, table):
            # One that was shut down stays so in this worker.
            await self._reload(wanted)

    # Servers.

    async def _change_servers(self, pid: int, table: Table) -> list[str]:
        """Returns what the worker did not do, in its own words. Raises ProxyError."""
        refusals = []
        for command in changes(table.backends, await self._servers(pid)):
            answer = await self._master.ask(pid, command)
            if answer and not is_consent(answer) and not command.startswith("del server"):
                refusals.append(answer)
        return refusals

    async def _servers(self, pid: int) -> Servers:
        return parsed(await self._master.ask(pid, SHOW))

    # Certificates.

    async def _renew(self, table: Table, wanted: str) -> None:
        """Loads certificates that were renewed into every worker, without a reload where that can be.

        Raises ProxyError. Workers from before a reload get what they can.
        """
        contents = await self._contents(table)
        newest, *old = (await self._master.processes()).workers
        # One that is loaded into a running worker gives way to all others that have its name.
        shared = {each.path for each in haproxy_config.shared_certificates(table)}
        for path in await self._stale(newest.pid, contents):
            if path in shared or not await self._is_renewed(newest.pid, path, contents[path]):
                await self._check(table, wanted)
                await self._reload(wanted)
                break
        for worker in old:
            # It may end at any moment, and may not have all of them.
            with contextlib.suppress(ProxyError):
                for path in await self._stale(worker.pid, contents, is_old=True):
                    await self._is_renewed(worker.pid, path, contents[path])

    async def _is_renewed(self, pid: int, path: Path, content: str) -> bool:
        # An empty line ends what belongs to a command.
        lines = "\n".join(line for line in content.splitlines() if line.strip())
        said = await self._master.ask(pid, f"set ssl cert {path} <<\n{lines}\n")
        if "Transaction" in said:
            said = await self._master.ask(pid, f"commit ssl cert {path}")
            if "Success" in said:
                return True
        await self._master.ask(pid, f"abort ssl cert {path}")
        log.info("HAProxy did not load a certificate while running", path=str(path), worker=pid, answer=said)
        return False

    async def _stale(self, pid: int, contents: Mapping[Path, str], *, is_old: bool = False) -> list[Path]:
        """Those of ``contents`` that the worker has not loaded so. ``is_old``: without those that it does not have."""
        stale = []
        for path, content in contents.items():
            loaded = loaded_identity(await self._master.ask(pid, f"show ssl cert {path}"))
            if loaded != identity(content) and (loaded[0] or not is_old):
                stale.append(path)
        return stale

    async def _contents(self, table: Table) -> Mapping[Path, str]:
        """What is on disk of the certificates that a worker loads. Raises ProxyError."""
        served = haproxy_config.served_certificates(table)
        return {each.path: await self._read_certificate(each) for each in served}

    async def _read_certificate(self, certificate: Certificate) -> str:
        content = await self._disk.read(certificate.path)
        if content is None:
            raise ProxyError(f"the certificate {certificate.path} is gone; put it back, or take it from [proxy]")
        return content

    # What it says.

    async def _description(self, pid: int) -> str:
        return field(await self._master.ask(pid, "show info"), "description")

    async def _closed(self, pid: int, table: Table) -> Mapping[str, int]:
        """The frontends of ours that take no connections, with their ports."""
        is_open = await self._open_frontends(pid)
        return {name: port for name, port in haproxy_config.frontends(table).items() if name not in is_open}

    async def _open_frontends(self, pid: int) -> frozenset[str]:
        answer = await self._master.ask(pid, _SHOW_FRONTENDS)
        try:
            found = frozenset(row["pxname"] for row in rows(answer.removeprefix("# "), ",") if row["status"] == "OPEN")
        except KeyError:
            raise not_understood(_SHOW_FRONTENDS, answer) from None
        if not answer.startswith("# "):
            raise not_understood(_SHOW_FRONTENDS, answer)
        return found

    # The disk.

    async def _differences_on_disk(self, table: Table, wanted: str) -> tuple[str, ...]:
        found = await self._disk.read(self._config)
        if found is None:
            return (f"the configuration {self._config} is missing",)
        if found != wanted:
            return (f"the configuration {self._config} is another",)
        path = haproxy_config.certificate_list_path(table, self._config)
        if haproxy_config.served_certificates(table) and await self._disk.read(path) != haproxy_config.certificate_list(
            table
        ):
            return (f"the list of certificates {path} is another",)
        return ()

    async def _write_list(self, table: Table) -> None:
        path, content = (
            haproxy_config.certificate_list_path(table, self._config),
            haproxy_config.certificate_list(table),
        )
        if haproxy_config.served_certificates(table) and await self._disk.read(path) != content:
            await self._disk.write(path, content)

    async def _remove_other_lists(self, table: Table) -> None:
        names = await self._disk.names(self._config.parent)
        for name in haproxy_config.other_lists(table, self._config, names):
            await self._disk.remove(self._config.with_name(name))


def _first_alert(output: str) -> str:
    """The first thing that HAProxy finds wrong, without the preface of its log."""
    for line in output.splitlines():
        if alert := re.match(r"\[ALERT\]\s*\(\d+\)\s*:\s*(?:config\s*:\s*)?(.+)", line):
            return alert[1].strip()
    return output.strip().partition("\n")[0] or "it does not say why"
