"""HTML as people write it becomes HTML as it is kept: pictures inside it become files, links become whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from postroom.conversations.sanitise import cleaner, is_nested_beyond_reason, showable
from postroom.conversations.storage import Upload

MOST_PICTURES = 50
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}
_PICTURE = re.compile(r"data:(image/[a-z]+);base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|[/\\]{2}|#", re.IGNORECASE)
_PASSED_OVER_IN_URLS = re.compile(r"^[\x00-\x20]+|[\t\r\n]")
_INTERESTING = re.compile(r"data:|href", re.IGNORECASE)


@dataclass(slots=True)
class Unpacked:
    """The HTML, not yet sanitised, and the pictures that were in it; `cid:` in the HTML names each."""

    html: str
    pictures: list[Upload] = field(default_factory=list)


def unpacked(html: str, base_url: str = "") -> Unpacked:
    """Take pictures given as `data:` out of HTML, and make links without a host whole with `base_url`.

    Mail programs show no `data:` pictures, and in a mail a link without a host leads nowhere. At most 50
    pictures are taken, of the kinds that every mail program shows. Without `base_url` links stay as they are.
    """
    found = Unpacked(html)
    if not _INTERESTING.search(html) or is_nested_beyond_reason(html):
        return found
    names: dict[str, Upload] = {}

    def mend(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) == ("a", "href") and base_url:
            return _whole(value, base_url)
        if (tag, attribute) == ("img", "src") and len(names) < MOST_PICTURES:
            return _taken_out(value, names)
        return value

    found.html = cleaner(mend, more_schemes={"data"}).clean(showable(html))
    found.pictures = list(names.values())
    return found


def _whole(url: str, base_url: str) -> str:
    """A path of ours with our address before it; everything else as it is."""
    bare = _PASSED_OVER_IN_URLS.sub("", url)
    return url if not bare or _SCHEME.match(bare) else f"{base_url}/{bare.lstrip('/')}"


def _taken_out(url: str, names: dict[str, Upload]) -> str:
    start = _PICTURE.match(_PASSED_OVER_IN_URLS.sub("", url[:100]))
    ending = _ENDINGS.get(start[1].lower()) if start else None
    if start is None or ending is None:
        return url
    try:
        content = base64.b64decode(unquote_to_bytes(url.partition(",")[2]))
    except binascii.Error:
        return url
    content_id = f"{hashlib.sha256(content).hexdigest()[:32]}@picture"
    number = len(names) + 1
    names.setdefault(content_id, Upload(f"picture-{number}.{ending}", start[1].lower(), content, content_id))
    return f"cid:{content_id}"
