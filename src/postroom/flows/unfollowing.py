"""A follower stops following from a mail, by the signed link in its header."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.conversations.models import Contact, Follower, Record
from postroom.flows import recording
from postroom.outgoing.models import Email
from postroom.wire.link_tokens import UnfollowLink
from postroom.workspaces import tokens


@dataclass(frozen=True, slots=True)
class LinkedFollow:
    """Who a link lets stop following what; `is_following` is False if they stopped before."""

    record: Record
    contact: Contact
    is_following: bool


def follow_behind(token: str) -> LinkedFollow | None:
    """What a link is about; None for a token that is none of ours, and where record or contact are gone."""
    link = tokens.links().recognise(token)
    if not isinstance(link, UnfollowLink):
        return None
    emails = Email.objects.select_related("contact__member", "contact__address", "message__record__workspace")
    email = emails.filter(pk=link.email_id).first()
    record = email.message.record if email else None
    if email is None or email.contact is None or record is None:
        return None
    is_following = Follower.objects.filter(record=record, contact=email.contact).exists()
    return LinkedFollow(record, email.contact, is_following)


def unfollow_by_link(found: LinkedFollow) -> bool:
    """Let them follow the record no more, as done by themselves; False if they did not follow it."""
    return recording.unfollow(found.record, found.contact, by=found.contact.member)
