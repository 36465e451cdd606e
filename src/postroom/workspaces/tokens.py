"""The keys behind signed addresses and signed links."""

from functools import lru_cache

from django.conf import settings

from postroom.wire.link_tokens import LinkSigner
from postroom.wire.tokens import Signer, TokenKeys


def keys() -> TokenKeys:
    """All keys of the installation; the newest signs."""
    return TokenKeys(settings.POSTROOM_TOKEN_KEYS)


def signer(workspace_id: int) -> Signer:
    """What signs and recognises the addresses of one workspace; kept, because making one hashes every key."""
    return _signer(tuple(sorted(settings.POSTROOM_TOKEN_KEYS.items())), workspace_id)


def links() -> LinkSigner:
    """What signs and recognises the links in mails that work without a login."""
    return _links(tuple(sorted(settings.POSTROOM_TOKEN_KEYS.items())))


@lru_cache(maxsize=8)
def _links(numbered: tuple[tuple[int, bytes], ...]) -> LinkSigner:
    return LinkSigner(TokenKeys(dict(numbered)))


@lru_cache(maxsize=1024)
def _signer(numbered: tuple[tuple[int, bytes], ...], workspace_id: int) -> Signer:
    return Signer(TokenKeys(dict(numbered)), workspace_id)
