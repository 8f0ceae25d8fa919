"""Service definitions, the source of truth: read, checked, compared, edited, imported, exported."""
