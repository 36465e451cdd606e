"""A server's settings as one short text that differs whenever one of them does."""

from __future__ import annotations

import hashlib

from django.db import connection

_COLUMNS = (
    "is_active", "transport", "host", "port", "encryption", "authentication", "is_certificate_checked",
    "user", "password", "client_certificate", "client_key", "oauth", "esp", "esp_options", "from_filter",
    "connection_limit",
)  # fmt: skip


def of(server_id: int) -> str:
    """The digest of how a server is reached, secrets as they are sealed; empty if there is no such server.

    What sending itself writes into the row does not count, but for a refresh token that its provider renewed.
    """
    names = ", ".join(map(connection.ops.quote_name, _COLUMNS))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM postroom_mailserver WHERE id = %s", [server_id])
        row = cursor.fetchone()
    return hashlib.sha256(repr(tuple(row)).encode()).hexdigest() if row else ""
