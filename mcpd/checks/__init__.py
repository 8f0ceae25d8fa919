"""`mcpd check`: whether this machine is fit for mcpd. The checks change nothing."""
