"""Images: listed with who uses them, brought from a caller, and removed when nothing needs them."""
