"""What tests of mcpd's MCIAS client share."""

from datetime import UTC, datetime

VALIDATE = "/v1/token/validate"
SERVER = "https://mcias.example.net:8443"


def now() -> datetime:
    return datetime.now(UTC)
