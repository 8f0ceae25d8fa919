"""Prometheus metrics: counted as things happen (`counts`), read on a scrape (`scrape`), served (`endpoint`)."""
