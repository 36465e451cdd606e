"""A request that is repeated under the same `Idempotency-Key` is done once and answered the same for 24 h."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from postroom.workspaces.models import ApiKey, IdempotentRequest

KEPT_FOR = timedelta(hours=24)
STALE_AFTER = timedelta(minutes=2)


class OtherRequest(Exception):
    """The key was used for a request with another content. Nothing was done."""


class StillRunning(Exception):
    """The same request is being done at this moment. Nothing was done a second time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: the HTTP status and the body."""

    status: int
    body: str
    is_repeated: bool = False


def digest_of(secret: bytes, *parts: bytes) -> str:
    """What two requests have in common exactly if they ask for the same.

    A request may hold a password. Who has the digest alone cannot find it by guessing: for that they need
    `secret`, which is not stored anywhere (the text of the API key).
    """
    whole = hmac.new(secret, digestmod=hashlib.sha256)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def answer_once(api_key: ApiKey, key: str, digest: str, act: Callable[[], Answer]) -> Answer:
    """Do `act` unless this key has been answered already; then give that answer again.

    What `act` changes and the answer are committed together, so that a crash leaves either both or
    neither. If `act` raises, nothing was done and the key may be used again. Raises OtherRequest and
    StillRunning.
    """
    reserved = _reserve(api_key, key, digest)
    if isinstance(reserved, Answer):
        return reserved
    try:
        with transaction.atomic():
            # Whoever took a stale reservation over has changed its time: then this one must not commit.
            mine = IdempotentRequest.objects.select_for_update().filter(
                pk=reserved.pk, created_at=reserved.created_at
            )
            if not mine.exists():
                raise StillRunning
            answer = act()
            mine.update(status=answer.status, body=answer.body)
    except BaseException:
        IdempotentRequest.objects.filter(pk=reserved.pk, created_at=reserved.created_at, status=None).delete()
        raise
    return answer


def _reserve(api_key: ApiKey, key: str, digest: str) -> IdempotentRequest | Answer:
    """Our reservation of the key, or the answer that it already has."""
    now = timezone.now()
    IdempotentRequest.objects.filter(api_key=api_key, key=key, created_at__lt=now - KEPT_FOR).delete()
    try:
        with transaction.atomic():
            return IdempotentRequest.objects.create(
                workspace_id=api_key.workspace_id, api_key=api_key, key=key, digest=digest, created_at=now
            )
    except IntegrityError:
        earlier = IdempotentRequest.objects.filter(api_key=api_key, key=key).first()
    if earlier is None:  # the earlier one failed at this moment
        raise StillRunning
    if earlier.digest != digest:
        raise OtherRequest
    if earlier.status is not None:
        return Answer(earlier.status, earlier.body, is_repeated=True)
    return _taken_over(earlier)


def _taken_over(earlier: IdempotentRequest) -> IdempotentRequest:
    """A reservation whose process died; raises StillRunning if it may be alive."""
    now = timezone.now()
    is_ours = earlier.created_at < now - STALE_AFTER and IdempotentRequest.objects.filter(
        pk=earlier.pk, created_at=earlier.created_at, status=None
    ).update(created_at=now)
    if not is_ours:
        raise StillRunning
    earlier.created_at = now
    return earlier
