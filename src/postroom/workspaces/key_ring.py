"""The secret keys of a process that runs on: taken over anew when somebody has added one meanwhile."""

from __future__ import annotations

from django.conf import settings


def look_again() -> bool:
    """Take over the keys as they are now if they changed since they were read; say whether they did.

    POSTROOM_READ_KEYS gives the settings that hang on them, or None for nothing new. A host application that
    does not set it keeps the keys of its start.
    """
    read = getattr(settings, "POSTROOM_READ_KEYS", None)
    found = read() if read else None
    for name, value in (found or {}).items():
        setattr(settings, name, value)
    return bool(found)
