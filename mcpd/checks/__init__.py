"""`mcpd check`: whether this machine is fit for mcpd. It looks and judges, and changes nothing."""
