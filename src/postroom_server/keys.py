"""The installation's secret keys: made once, kept outside the database, numbered for rotation."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from postroom_server import config as configuration
from postroom_server import folder
from postroom_server.config import Config, ConfigError

FILE_NAME = "secret.key"
STARTED_NAME = "engine.key"
LAST_NUMBER = 255


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
    keys: dict[int, bytes] = {}
    for line in _lines(text):
        number, _, secret = line.partition(":")
        if not number.isdigit() or not 1 <= int(number) <= LAST_NUMBER or len(secret) < 32:
            raise ConfigError(
                "A key is a line NUMBER:SECRET; the number is 1 to 255, the secret has 32 characters or more."
            )
        keys[int(number)] = hashlib.blake2b(secret.encode(), digest_size=32, person=b"postroom-key").digest()
    if not keys:
        raise ConfigError("The secret key is empty. Restore it, or remove the setting to have one made.")
    return keys


def settings_of(keys: Mapping[int, bytes]) -> dict[str, Any]:
    """The Django settings that hang on the keys, by name."""
    newest_first = sorted(keys, reverse=True)
    signing = [derive(keys[number], "django").hex() for number in newest_first]
    return {
        "SECRET_KEY": signing[0],
        "SECRET_KEY_FALLBACKS": signing[1:],
        "POSTROOM_TOKEN_KEYS": {number: derive(key, "tokens") for number, key in keys.items()},
        "POSTROOM_SEALING_KEYS": list(sealing_keys(keys).values()),
        "POSTROOM_LOG_KEYS": [derive(keys[number], "log") for number in newest_first],
        "POSTROOM_KEY_CHECKS": [derive(keys[number], "check").hex()[:32] for number in newest_first],
    }


class Rereader:
    """Reads the keys of a running process once more, where they come from a file."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._seen = dict(keys)

    def __call__(self) -> dict[str, Any] | None:
        """The settings as they are now; None if nothing changed, or if the keys cannot be read just now."""
        try:
            now = _as_they_are(configuration.load())
        except (ConfigError, OSError, ValueError):
            return None
        if now == self._seen:
            return None
        self._seen = dict(now)
        return settings_of(now)


def note_start(config: Config, keys: Mapping[int, bytes]) -> None:
    """Keep which key was the newest when the engine on this data folder started."""
    (config.data / STARTED_NAME).write_text(_mark(keys), "ascii")


def refuse_if_unknown_to_engine(config: Config, keys: Mapping[int, bytes]) -> None:
    """Raise ConfigError if the engine that runs here cannot learn the newest of these keys.

    It reads files again by itself; what its environment says it knows from its start only.
    """
    if config.values["POSTROOM_SECRET_KEY"].origin != "environment":
        return
    noted = config.data / STARTED_NAME
    if noted.exists() and noted.read_text("ascii") != _mark(keys):
        raise ConfigError(
            "Postroom runs here since before the newest key was added to POSTROOM_SECRET_KEY, and could open "
            "nothing that is sealed with it. Restart first, then run this again."
        )


def _mark(keys: Mapping[int, bytes]) -> str:
    return derive(keys[max(keys)], "started").hex()[:16]


def _as_they_are(config: Config) -> Mapping[int, bytes]:
    """The keys without making any: one that was lost beside a running server is not replaced by a new one."""
    return parse(config["POSTROOM_SECRET_KEY"] or (config.data / FILE_NAME).read_text("ascii"))


def sealing_keys(keys: Mapping[int, bytes]) -> dict[int, bytes]:
    """The keys that seal secrets in the database, by number, newest first."""
    return {number: derive(keys[number], "sealing") for number in sorted(keys, reverse=True)}


def add_next(config: Config) -> int:
    """Add the next numbered line to `secret.key` and return its number; from the next start on it signs.

    The file is replaced as a whole, so that it is there with all its lines whatever happens. Raises
    ConfigError if the keys are not in that file, where nobody but their keeper can add one.
    """
    if config["POSTROOM_SECRET_KEY"]:
        raise ConfigError(
            "The keys come from POSTROOM_SECRET_KEY, so a new one is added there: write 1:OLD,2:NEW with the "
            "old key and 64 new random characters. Then start Postroom again and run "
            "`postroom secret reseal`."
        )
    path = (folder.prepare(config) / FILE_NAME).resolve()
    with _alone_in(path.parent):
        keys = parse(path.read_text("ascii"))
        number = max(keys) + 1
        if number > LAST_NUMBER:
            raise ConfigError(f"{path} has a line {LAST_NUMBER}, the last number there is. Keep it as it is.")
        _replace(path, [*_lines(path.read_text("ascii")), f"{number}:{secrets.token_hex(32)}"])
    return number


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


def _lines(text: str) -> list[str]:
    lines = text.replace(",", "\n").split()
    return [f"1:{lines[0]}"] if len(lines) == 1 and ":" not in lines[0] else lines


@contextlib.contextmanager
def _alone_in(place: Path) -> Iterator[None]:
    """Nobody else changes the keys meanwhile; whoever else wants to waits."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, lines: Sequence[str]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # of a rotation that was cut off before it counted
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        _give_like(path, descriptor)
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _give_like(path: Path, descriptor: int) -> None:
    """Owner, group and mode stay: whoever runs Postroom still reads its keys afterwards.

    Raises ConfigError where they cannot stay; then nothing was changed.
    """
    before, made = path.stat(), os.fstat(descriptor)
    try:
        if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, before.st_mode & 0o777)
    except OSError as error:
        raise ConfigError(
            f"{path} belongs to another user, and would not any more ({error.strerror}). Run the command as "
            "the user that Postroom runs as, or as root."
        ) from error
