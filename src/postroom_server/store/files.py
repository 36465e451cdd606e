"""The names of files in the storage: each says what its octets are."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

#: Under workspace and digest, and nothing else: such a name leads nowhere outside the storage.
NAME = re.compile(r"[0-9]{1,19}/([0-9a-f]{2})/(\1[0-9a-f]{62})(\.eml)?")
CHUNK = 256 * 1024


def digest_in(name: str) -> str:
    """The SHA-256 that a file's octets have if they are whole: its name says it."""
    return PurePosixPath(name).name.removesuffix(".eml")


def digest_of(path: Path) -> str:
    """The SHA-256 that a file's octets do have. Raises OSError."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
    return whole.hexdigest()
