"""The tree of a foreign MIME mail, walked within limits and without recursion."""

import binascii
import re
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from typing import Final

from postroom.wire.characters import one_line
from postroom.wire.file_names import clean_file_name
from postroom.wire.headers import Headers, Limits, read_header_block
from postroom.wire.parameters import split_parameters

_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,80}/[a-z0-9!#$&^_.+-]{1,80}")
_AFTER_BOUNDARY: Final = re.compile(rb"(--)?[ \t]{0,200}(?:\r?\n|\Z)")
_FIRST_DELIMITER: Final = re.compile(rb"(?:\r?\n){0,5}--([^\r\n]{1,200})\r?\n")
_BOUNDARY_CHARACTERS: Final = 200
_BASE64_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _BASE64_LETTERS)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part that is not multipart: where its octets stand, and what they are said to be.

    `alternative` numbers the innermost multipart/alternative around it; None if there is none.
    """

    headers: Headers
    start: int
    end: int
    content_type: str
    charset: str
    disposition: str
    file_name: str
    alternative: int | None

    def content(self, octets: bytes, defects: MutableSequence[str]) -> bytes:
        """Decode this leaf of the mail `octets`; broken encodings are read as far as possible."""
        return _decoded(octets[self.start : self.end], one_line(self.headers.get(_ENCODING) or ""), defects)


@dataclass(frozen=True, slots=True)
class _Branch:
    start: int
    end: int
    depth: int
    default_type: str
    alternative: int | None


_ENCODING: Final = "Content-Transfer-Encoding"


class _Walk:
    def __init__(self, octets: bytes, limits: Limits, defects: MutableSequence[str]) -> None:
        self._octets = octets
        self._limits = limits
        self._defects = defects
        self._part_count = 0
        self._alternative_count = 0
        self.headers: Headers | None = None
        self.leaves: list[Leaf] = []

    def run(self) -> None:
        waiting = [_Branch(0, len(self._octets), 0, "text/plain", None)]
        while waiting:
            waiting.extend(reversed(self._take(waiting.pop())))

    def _take(self, branch: _Branch) -> list[_Branch]:
        """Keep a leaf, or return what a multipart holds."""
        headers, body = read_header_block(
            self._octets, branch.start, branch.end, limits=self._limits, defects=self._defects
        )
        self.headers = self.headers if self.headers is not None else headers
        content_type, parameters = self._parameters(headers, "Content-Type")
        if not _TYPE.fullmatch(content_type):
            content_type = branch.default_type
        if content_type.startswith("multipart/"):
            parts = self._parts(branch, body, content_type, parameters.get("boundary", ""))
            if parts:
                return parts
            content_type = content_type if "nested-too-deep" in self._defects else "text/plain"
        disposition, more = self._parameters(headers, "Content-Disposition")
        name = clean_file_name(more.get("filename") or parameters.get("name") or "")
        charset = parameters.get("charset", "")
        self.leaves.append(
            Leaf(headers, body, branch.end, content_type, charset, disposition, name, branch.alternative)
        )
        return []

    def _parameters(self, headers: Headers, name: str) -> tuple[str, dict[str, str]]:
        value = headers.get(name)
        return split_parameters(value, self._limits.parameters, self._defects) if value else ("", {})

    def _parts(self, branch: _Branch, body: int, content_type: str, boundary: str) -> list[_Branch]:
        if branch.depth >= self._limits.depth:
            self._defects.append("nested-too-deep")
            return []
        found = list(self._ranges(body, branch.end, self._boundary(boundary, body)))
        if not found:
            self._defects.append("boundary-not-found")
        alternative = branch.alternative
        if content_type == "multipart/alternative":
            self._alternative_count += 1
            alternative = self._alternative_count
        default_type = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
        return [_Branch(start, end, branch.depth + 1, default_type, alternative) for start, end in found]

    def _boundary(self, boundary: str, body: int) -> bytes:
        if 0 < len(boundary) <= _BOUNDARY_CHARACTERS:
            return boundary.encode("utf-8", "replace")
        self._defects.append("no-boundary")
        found = _FIRST_DELIMITER.match(self._octets, body)
        return found[1].rstrip() if found else b""

    def _ranges(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each part starts and ends, without the line end before the next delimiter."""
        part: int | None = None
        for line, after, is_last in self._delimiters(start, end, boundary):
            if part is not None:
                yield part, max(part, self._without_line_end(line))
            if is_last:
                return
            if self._part_count >= self._limits.parts:
                self._defects.append("too-many-parts")
                return
            self._part_count += 1
            part = after
        if part is not None:
            self._defects.append("no-closing-boundary")
            yield part, end

    def _delimiters(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
        """Yield the start of each delimiter line, where the next line starts, and whether it is the last."""
        needle = b"--" + boundary
        at, tries = start, 20 * self._limits.parts
        while boundary and tries:
            tries -= 1
            line = self._octets.find(needle, at, end)
            if line < 0:
                return
            at = line + len(needle)
            if line == start or self._octets[line - 1 : line] == b"\n":
                after = _AFTER_BOUNDARY.match(self._octets, at, end)
                if after:
                    at = after.end()
                    yield line, at, after[1] is not None

    def _without_line_end(self, line: int) -> int:
        if self._octets[line - 2 : line] == b"\r\n":
            return line - 2
        return line - 1


def walk(octets: bytes, limits: Limits, defects: MutableSequence[str]) -> tuple[Headers, list[Leaf]]:
    """Return the headers of a mail and its leaves in their order; never raises.

    Messages inside are leaves and not opened. What goes beyond the limits, and every repair, is added
    to `defects` as a stable word.
    """
    walk = _Walk(octets, limits, defects)
    walk.run()
    return walk.headers if walk.headers is not None else Headers([]), walk.leaves


def _decoded(octets: bytes, encoding: str, defects: MutableSequence[str]) -> bytes:
    match encoding.lower():
        case "base64":
            return _from_base64(octets, defects)
        case "quoted-printable":
            return binascii.a2b_qp(octets)
        case "" | "7bit" | "8bit" | "binary":
            return octets
        case _:
            defects.append("unknown-transfer-encoding")
            return octets


def _from_base64(octets: bytes, defects: MutableSequence[str]) -> bytes:
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        defects.append("broken-base64")
    letters = octets.translate(None, _NOT_BASE64)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))
