"""What capture mode does with claimed Emails: keep them in, redirect them, or let them leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from postroom.outgoing.claiming import Claimed
from postroom.outgoing.models import Email, Rendition
from postroom.workspaces.capture_rules import ALLOW, REDIRECT, Capture

SECRET_LAYOUT = "secret"  # of octets that only their recipients may read, and only until they left


def divide(emails: Sequence[Claimed], captures: Mapping[int, Capture]) -> tuple[list[Claimed], list[Claimed]]:
    """What stays in, and what leaves, with `redirected_to` as it is to be now."""
    redirected = [email for email in emails if captures[email.workspace_id].mode == REDIRECT]
    secret = _secret_among(redirected) if redirected else frozenset[int]()
    kept, leaving = [], []
    for email in emails:
        capture = captures[email.workspace_id]
        if is_kept(email, capture, secret):
            kept.append(email)
        else:
            leaving.append(_to(email, capture.to))
    return kept, leaving


def is_kept(email: Claimed, capture: Capture, secret: Collection[int | None] = ()) -> bool:
    """Does it stay in? `secret` are renditions that nobody but the recipient may get."""
    if capture.mode == REDIRECT:
        return email.rendition_id in secret
    if capture.mode == ALLOW:
        return not capture.lets_through(email.addr_spec)
    return capture.mode != ""


def write_redirections(lease: str, before: Iterable[Claimed], leaving: Iterable[Claimed]) -> None:
    """Write down where these Emails go instead, before any of them leaves: recovery reads it from there.

    Where nothing changed the database is left alone.
    """
    known = {email.email_id: email.redirected_to for email in before}
    changed: dict[str, list[int]] = {}
    for email in leaving:
        if email.redirected_to != known[email.email_id]:
            changed.setdefault(email.redirected_to, []).append(email.email_id)
    for to, email_ids in changed.items():
        Email.objects.filter(pk__in=email_ids, lease=lease).update(redirected_to=to)


def _to(email: Claimed, address: str) -> Claimed:
    return email if email.redirected_to == address else email._replace(redirected_to=address)


def _secret_among(emails: Iterable[Claimed]) -> frozenset[int]:
    rendition_ids = {email.rendition_id for email in emails if email.rendition_id}
    found = Rendition.objects.filter(pk__in=rendition_ids, layout=SECRET_LAYOUT)
    return frozenset(found.values_list("pk", flat=True))
