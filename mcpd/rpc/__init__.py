"""The wire: every call is admitted, converted, carried out and answered here."""
