"""What the built-in target accepted, kept so that a reader in another process can count it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from io import BufferedWriter
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TargetMail:
    """One mail for one recipient, as it came over the wire; `id` is its number in the store."""

    id: str
    received_at: datetime
    reverse_path: str
    forward_path: str
    octets: bytes
    helo: str
    peer: str


class TargetStore:
    """Keeps mails in a folder: `<number>.eml` each and one line in `index.jsonl`, or in memory without one.

    A mail is in the index before its reply leaves, and both files are handed to the operating system by then:
    killing the process loses nothing that was answered. A folder is made by the first mail. One process
    writes; any number may read by opening their own store.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.mails: dict[str, TargetMail] = {}
        self.last_number = 0
        self.index: BufferedWriter | None = None
        if folder is not None and folder.is_dir():
            self._load(folder)

    def add(
        self,
        *,
        received_at: datetime,
        reverse_path: str,
        forward_path: str,
        octets: bytes,
        helo: str = "",
        peer: str = "",
    ) -> TargetMail:
        """Keep one mail and return it. Raises OSError if it cannot be written; then it is not kept."""
        self.last_number += 1
        number = str(self.last_number)
        mail = TargetMail(number, received_at, reverse_path, forward_path, octets, helo, peer)
        if self.folder is None:
            self.mails[number] = mail
        else:
            self._write(self.folder, mail)
            self.mails[number] = replace(mail, octets=b"")
        return mail

    def list(self, limit: int = 100, address: str | None = None) -> list[TargetMail]:
        """Return the newest mails first, only those to `address` if one is given."""
        wanted = address.lower() if address else None
        found: list[TargetMail] = []
        for mail in reversed(self.mails.values()):
            if len(found) >= limit:
                break
            if wanted is None or mail.forward_path.lower() == wanted:
                found.append(self._whole(mail))
        return found

    def get(self, mail_id: str) -> TargetMail | None:
        """Return one mail, None if there is none of that number."""
        mail = self.mails.get(mail_id)
        return self._whole(mail) if mail is not None else None

    def count(self) -> int:
        """Return how many mails were accepted."""
        return len(self.mails)

    def close(self) -> None:
        """Close the index; the next mail opens it again."""
        if self.index is not None:
            self.index.close()
            self.index = None

    def _write(self, folder: Path, mail: TargetMail) -> None:
        index = self.index = self.index or _opened(folder)
        _octets_file(folder, mail.id).write_bytes(mail.octets)
        fields = asdict(mail) | {"received_at": mail.received_at.isoformat()}
        del fields["octets"]
        index.write(json.dumps(fields).encode() + b"\n")
        index.flush()

    def _whole(self, mail: TargetMail) -> TargetMail:
        if self.folder is None:
            return mail
        path = _octets_file(self.folder, mail.id)
        return replace(mail, octets=path.read_bytes() if path.exists() else b"")

    def _load(self, folder: Path) -> None:
        numbers = [int(path.stem) for path in folder.glob("*.eml") if path.stem.isdigit()]
        self.last_number = max(numbers, default=0)
        index = folder / "index.jsonl"
        for line in index.read_bytes().splitlines() if index.exists() else ():
            mail = _read(line)
            if mail is not None:
                self.mails[mail.id] = mail


def _octets_file(folder: Path, number: str) -> Path:
    return folder / f"{int(number):08d}.eml"


def _opened(folder: Path) -> BufferedWriter:
    """Open the index at its end. A line torn by a crash is closed, so that the next one stands alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.jsonl"
    is_torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    index = path.open("ab")
    if is_torn:
        index.write(b"\n")
    return index


def _read(line: bytes) -> TargetMail | None:
    """Read one line of the index; None for the torn line of a crash, whose mail was never answered."""
    try:
        fields: dict[str, Any] = json.loads(line)
        received_at = datetime.fromisoformat(fields.pop("received_at"))
        return TargetMail(received_at=received_at, octets=b"", **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
