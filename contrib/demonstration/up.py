"""`up`: makes a node, or starts what of it does not run."""

from __future__ import annotations

import shlex

from contrib.demonstration import daemons, leftovers
from contrib.demonstration.images import build_images
from contrib.demonstration.node import Node, claim, require_unclaimed
from contrib.demonstration.output import say
from contrib.demonstration.podman import set_up_podman
from contrib.demonstration.settings import (
    MCIAS_ACCOUNT,
    Options,
    Settings,
    read_settings,
    set_up_mcpctl,
    set_up_mcpd,
)


def up(node: Node, options: Options) -> None:
    """Every step can be repeated, so that `up` goes on where one that failed has ended. Raises Failure."""
    require_unclaimed(node)
    claim(node)
    set_up_mcpd(node, options)
    settings = read_settings(node)
    set_up_mcpctl(node, settings)
    set_up_podman(node)
    if node.is_root:
        leftovers.forget_networks_that_are_gone()
    build_images(node)
    _tell_what_stays(node, settings, options)
    if settings.mcias_url:
        daemons.ensure_mcias_runs(node, settings)
    daemons.ensure_mcpd_runs(node, settings)
    if settings.proxy:
        daemons.ensure_proxy_runs(node, settings)


def describe(node: Node) -> None:
    """Prints what runs and how to speak to it."""
    settings = read_settings(node)
    daemon = daemons.mcpd(node)
    print(f"Node {settings.name} runs at {settings.address} (pid {daemon.pid()}, log {daemon.log}).")
    if settings.mcias_url:
        print(
            f"MCIAS, a stand-in, runs at {settings.mcias_url} (pid {daemons.mcias(node).pid()}): "
            f"account {MCIAS_ACCOUNT}, password in {node.folder}/mcias/password."
        )
    if settings.proxy:
        port = settings.proxy_address.rpartition(":")[2]
        print(
            f"{settings.proxy} runs (pid {daemons.proxy(node, settings.proxy).pid()}, files in {node.folder}/proxy): "
            f"a route with listen = {port} is at http://HOST:{port}/, for any HOST that leads to 127.0.0.1."
        )
    print(f"To speak to it:  source {shlex.quote(str(node.folder / 'env'))}", flush=True)


def _tell_what_stays(node: Node, settings: Settings, options: Options) -> None:
    if (options.name or settings.name, options.address or settings.address) != (settings.name, settings.address):
        say(f"{node.folder} was set up before: it stays node {settings.name} at {settings.address}")
    if options.proxy and options.proxy != settings.proxy:
        say(f"{node.folder} was set up before, with {settings.proxy or 'no proxy'}: it stays so")
    if options.mcias and not settings.mcias_url:
        say(f"{node.folder} was set up before, without --mcias: it stays so")
