"""`mcpctl dash`: the fleet on one screen, with Textual. Needs the extra ``dash``.

`app` shows what `mcpctl.actions.live.fleet_state` knows, on two screens. The panes for history and logs ask a node for
more; nothing else does.
"""
