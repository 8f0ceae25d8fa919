"""What a person or a program sees: rows, tables, JSON, colours, progress. Nothing here talks to anybody."""
