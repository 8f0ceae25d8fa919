"""`mcpctl dash`: the fleet on one screen, with Textual. Needs the extra ``dash``.

`app` shows what `mcpctl.picture` knows; `fleet` and `service` are its screens, `history` and `printed` the two panes
that ask a node for more. Screens are given pictures, and ask for nothing that is in one.
"""
