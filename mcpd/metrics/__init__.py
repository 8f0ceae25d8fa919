"""What Prometheus is told: counted as it happens (`counts`), read when it asks (`scrape`), over HTTP (`endpoint`)."""
