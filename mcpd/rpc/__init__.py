"""The wire: admits every call, converts its message, carries it out and answers."""
