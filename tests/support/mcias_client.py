"""What tests of mcpd's MCIAS client share."""

from datetime import UTC, datetime

VALIDATE = "/v1/token/validate"
SERVER = "https://mcias.example.net:8443"


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def now() -> datetime:
    return datetime.now(UTC)
