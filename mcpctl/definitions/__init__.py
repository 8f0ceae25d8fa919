"""Service definitions, the TOML files that are the source of truth: read, checked, compared, edited, imported, exported."""
