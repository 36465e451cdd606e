"""The installation's secret keys: made once, kept outside the database, numbered for rotation."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from postroom_server import folder
from postroom_server.config import Config, ConfigError

FILE_NAME = "secret.key"


def load_or_make(config: Config) -> Mapping[int, bytes]:
    """The keys by number; the highest number signs, all of them verify.

    They come from POSTROOM_SECRET_KEY, from the file it names, or from `secret.key` in the data folder,
    which is made at the very first start. Raises ConfigError if there is a database but no key: a new
    key would make every signed address and every session of that database worthless. Raises FolderUnusable
    if the data folder cannot be made or written to.
    """
    data = folder.prepare(config)
    if text := config["POSTROOM_SECRET_KEY"]:
        return parse(text)
    path = data / FILE_NAME
    if not path.exists():
        _refuse_if_database_exists(config, path)
        _make(path)
    return parse(path.read_text("ascii"))


def parse(text: str) -> Mapping[int, bytes]:
    """Read `number:key` lines (or one bare key, which is number 1)."""
    lines = [line for line in text.replace(",", "\n").split() if line]
    if len(lines) == 1 and ":" not in lines[0]:
        lines = [f"1:{lines[0]}"]
    keys: dict[int, bytes] = {}
    for line in lines:
        number, _, secret = line.partition(":")
        if not number.isdigit() or not 1 <= int(number) <= 255 or len(secret) < 32:
            raise ConfigError(
                "A key is a line NUMBER:SECRET; the number is 1 to 255, the secret has 32 characters or more."
            )
        keys[int(number)] = hashlib.blake2b(secret.encode(), digest_size=32, person=b"postroom-key").digest()
    if not keys:
        raise ConfigError("The secret key is empty. Restore it, or remove the setting to have one made.")
    return keys


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (32 octets)."""
    return hashlib.blake2b(purpose.encode(), key=key, digest_size=32).digest()


def _refuse_if_database_exists(config: Config, path: Path) -> None:
    if not config["DATABASE_URL"] and (config.data / "postroom.sqlite3").exists():
        raise ConfigError(
            f"There is a database in {config.data}, but its key is missing. Put {path.name} back into that "
            "folder (it was made at the first start), or set POSTROOM_SECRET_KEY or POSTROOM_SECRET_KEY_FILE."
        )


def _make(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another command of the same first start made it
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(f"1:{secrets.token_hex(32)}\n")
        file.flush()
        os.fsync(file.fileno())
