"""Something is said: it is stored, and everybody it concerns is told by email or in Postroom."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from postroom import engine
from postroom.conversations import message_names, pictures, sanitise, storage
from postroom.conversations.models import Attachment, Contact, Message, Notification, Record, Subtype
from postroom.conversations.models.messages import Kind
from postroom.conversations.recipients import BY_EMAIL, IN_POSTROOM, PASSED_OVER, SHARING, Audience, Reason
from postroom.conversations.storage import Upload
from postroom.diagnostics import mail_log, telemetry
from postroom.diagnostics.events import EventKind, note
from postroom.diagnostics.models import Event
from postroom.flows import recording, releasing, tracing
from postroom.flows.drafts import Draft, NotTold, OutsidersNamed, PostRefused, Preview, Told
from postroom.flows.due_times import still_to_come
from postroom.flows.submitting import submit
from postroom.outgoing import fan_out, letters, origin, relays
from postroom.outgoing.enclosures import Enclosure, enclosed
from postroom.outgoing.routes import Route, ServerUnusable, route_of
from postroom.wire.compose import Part
from postroom.wire.threads import mint_message_id
from postroom.workspaces import parameters
from postroom.workspaces.insert_selected import Selection, as_json, insert_selected
from postroom.workspaces.models import Workspace
from postroom.workspaces.walls import refuse_strangers

if TYPE_CHECKING:
    from postroom.conversations.recipients import Candidate

__all__ = [
    "Draft",
    "NotTold",
    "OutsidersNamed",
    "PostRefused",
    "Preview",
    "Told",
    "Upload",
    "check",
    "post",
    "preview",
    "submit",
]


@telemetry.traced(tracing.POST, tracing.of_message)
def post(draft: Draft) -> Message:
    """Say it: one transaction for the message, everybody's Email or Notification, and the reasons why not.

    Returns after commit has been arranged for; the lane is woken then. Raises OutsidersNamed, PostRefused or
    AcrossTheWall, each of them with nothing stored.
    """
    draft = _unpacked(draft)
    subtype = _subtype_of(draft)
    audience = _audience_of(draft, subtype)
    _refuse_unless_possible(draft, audience)
    attachments = [storage.keep(draft.workspace.pk, upload) for upload in draft.attachments]
    candidates = None if draft.is_quiet else audience.written()  # whoever waits to write need not wait for it
    route = None if candidates is None else _route_of(draft, audience.author)
    with transaction.atomic():
        message = _write(draft, subtype, audience.author, attachments)
        _let_author_follow(draft, subtype, audience.author)
        if candidates is None or route is None:
            fan_out.write_tally(message, 0)
            mail_log.posted(message)
        else:
            with candidates.asked_once() as asked:
                _tell(draft, message, asked, route)
            releasing.ask_at(message)
    return message


def check(draft: Draft) -> None:
    """Raise what `post` would raise for this draft now: OutsidersNamed, PostRefused or AcrossTheWall."""
    audience = _audience_of(draft, _subtype_of(draft))
    _refuse_unless_possible(draft, audience)
    still_to_come(draft.send_at)


def _unpacked(draft: Draft) -> Draft:
    """Its pictures are files like others; what came in from outside has no links to our own pages."""
    found = pictures.unpacked(draft.body, "" if draft.kind == Kind.EMAIL else settings.POSTROOM_BASE_URL)
    return replace(draft, body=found.html, attachments=[*draft.attachments, *found.pictures])


def preview(draft: Draft) -> Preview:
    """Who would be told, how and why, and who not; nothing is stored. Raises PostRefused, AcrossTheWall."""
    subtype = _subtype_of(draft)
    audience = _audience_of(draft, subtype)
    told = [
        Told(contact, contact.channel, contact.addr_spec, contact.why)
        for rows in (audience.by_email(), audience.in_postroom())
        for contact in _listed(rows)
    ]
    passed_over = [NotTold(contact, contact.hurdle) for contact in _listed(audience.passed_over())]
    sharing = [NotTold(contact, Reason.SAME_ADDRESS) for contact in _listed(audience.sharing())]
    outsiders = [] if draft.are_outsiders_confirmed else list(audience.outsiders())
    route, stream = _route_of(draft, audience.author), str(draft.stream or subtype.stream)
    return Preview(told, passed_over + sharing, outsiders, route, stream)


def _listed(rows: QuerySet[Candidate]) -> QuerySet[Candidate]:
    return rows.select_related("address").order_by("name", "pk")


def _subtype_of(draft: Draft) -> Subtype:
    found = Subtype.objects.filter(workspace=draft.workspace, key=draft.subtype_key).first()
    if found is None:
        raise PostRefused(_("There is no subtype %(key)s.") % {"key": draft.subtype_key})
    return found


def _audience_of(draft: Draft, subtype: Subtype) -> Audience:
    author = draft.author or (draft.member and Contact.objects.filter(member=draft.member).first())
    refuse_strangers(draft.workspace, [draft.record, draft.member, draft.parent, author, *draft.named])
    return Audience(
        workspace_id=draft.workspace.pk,
        record_id=draft.record.pk if draft.record else None,
        subtype=subtype,
        author=author or None,
        named_ids=tuple(sorted({contact.pk for contact in draft.named})),
        already_told=draft.already_told,
        are_outsiders_confirmed=draft.are_outsiders_confirmed,
    )


def _refuse_unless_possible(draft: Draft, audience: Audience) -> None:
    outsiders = [] if draft.are_outsiders_confirmed else list(audience.outsiders())
    if outsiders:
        raise OutsidersNamed(outsiders)
    if draft.kind == Kind.EMAIL:
        return  # what came in is kept, whatever it is
    if not (draft.body.strip() or draft.text.strip() or draft.attachments):
        raise PostRefused(_("There is nothing in it. Write something or attach a file."))
    if _are_too_large(draft):
        limit = parameters.value(draft.workspace.pk, "mail.attachment.limit_megabytes")
        raise PostRefused(
            _("The files are larger than %(limit)s MB together. Leave some out, or give a link instead.")
            % {"limit": limit}
        )


def _are_too_large(draft: Draft) -> bool:
    limit: int = parameters.value(draft.workspace.pk, "mail.attachment.limit_megabytes")
    return sum(len(upload.content) for upload in draft.attachments) > limit * 1_000_000


def _write(
    draft: Draft, subtype: Subtype, author: Contact | None, attachments: Sequence[Attachment]
) -> Message:
    if draft.record is not None:  # the row is locked: who follows does not change until this is told
        Record.objects.filter(pk=draft.record.pk).update(last_message_at=Now())
    body = sanitise.clean_html(draft.body) if draft.body.strip() else sanitise.html_of(draft.text)
    message = Message.objects.create(
        workspace=draft.workspace,
        record=draft.record,
        author=author,
        author_name=str(author or draft.author_name)[:200],
        kind=draft.kind,
        subtype=subtype,
        stream=str(draft.stream or subtype.stream),
        subject=" ".join(sanitise.showable(draft.subject).split())[:998],
        body=body,
        text=sanitise.text_of(body),
        parent=draft.parent or _newest_on(draft.record),
        message_id=message_names.usable(draft.message_id) or _mint(draft.workspace),
        send_at=still_to_come(draft.send_at),
    )
    message_names.remember(message, draft.message_id)
    for attachment in attachments:
        attachment.message = message
    Attachment.objects.bulk_create(attachments)
    return message


def _mint(workspace: Workspace) -> str:
    return mint_message_id(uuid.uuid4().hex, origin.default_domain(workspace).domain)


def _newest_on(record: Record | None) -> Message | None:
    """Conversations are flat: what is said next answers what was said last."""
    return None if record is None else Message.objects.filter(record=record).order_by("-pk").first()


def _let_author_follow(draft: Draft, subtype: Subtype, author: Contact | None) -> None:
    """Who takes part follows: a member by a comment, somebody outside by an email."""
    if draft.record is None or author is None or draft.is_quiet or not draft.may_author_follow:
        return
    is_outside_mail = draft.kind == Kind.EMAIL and not author.is_insider
    is_comment = draft.kind in (Kind.COMMENT, Kind.EMAIL) and author.is_insider and not subtype.is_internal
    if is_outside_mail or is_comment:
        recording.follow(draft.record, author, by=draft.member)


def _route_of(draft: Draft, author: Contact | None) -> Route:
    """A member's personal server carries what they say themselves, not what another says in their name."""
    is_own = draft.member is None or author is None or author.member_id == draft.member.pk
    try:
        return route_of(draft.workspace, author, fixed=draft.server, may_be_personal=is_own)
    except ServerUnusable as error:
        raise PostRefused(str(error)) from error


def _tell(draft: Draft, message: Message, candidates: Selection, route: Route) -> None:
    while not relays.stays_in_use(route.server):  # somebody archived it in this moment
        route = _route_of(draft, message.author)
    lane = relays.lane_of(
        draft.workspace, message.stream, route.server, has_foreign_from=route.has_foreign_from
    )
    mailed = candidates.pick(BY_EMAIL, **{name: name for name in candidates.names})
    renditions = fan_out.write_renditions(_frame_of(draft, message, route), mailed)
    if count := fan_out.write_emails(message, mailed, renditions, lane):
        note(EventKind.ROUTE, workspace=draft.workspace, message=message, **route.detail())
        server_lane = lane.server.engine_lane
        transaction.on_commit(lambda: engine.wake(server_lane))
    notified = _notify(message, candidates.pick(IN_POSTROOM, member="member_id", reason="why"))
    mail_log.posted(message, emails=count, notified=notified, over=lane.server.name)
    _note_why_not(message, candidates, PASSED_OVER, "hurdle")
    _note_why_not(message, candidates, SHARING, f"'{Reason.SAME_ADDRESS}'")


def _frame_of(draft: Draft, message: Message, route: Route) -> letters.Frame:
    rows = message.attachments.order_by("pk") if draft.attachments else ()
    parts = [_part_of(upload, message.body) for upload in draft.attachments]
    files = [Enclosure(row, part) for row, part in zip(rows, parts, strict=True)]
    return letters.frame_of(message, route, enclosed(message, files, route.max_octets))


def _part_of(upload: Upload, body: str) -> Part:
    content_id = upload.content_id.strip("<> ")
    is_shown = bool(content_id) and f"cid:{content_id}" in body
    is_inline = is_shown and upload.clean_type.startswith("image/")
    return Part(
        upload.clean_name,
        upload.clean_type,
        upload.content,
        content_id=content_id if is_inline else None,
        inline=is_inline,
    )


def _notify(message: Message, members: Selection) -> int:
    alike = {"workspace": message.workspace_id, "message": message.pk, "kind": Notification.Kind.MESSAGE}
    return insert_selected(Notification, members, alike=alike)


def _note_why_not(message: Message, candidates: Selection, who: str, reason: str) -> None:
    spelled = as_json(f"""'{{"reason": "' || {reason} || '"}}'""")
    alike = {
        "workspace": message.workspace_id,
        "kind": EventKind.NOT_TOLD,
        "message": message.pk,
        "record": message.record_id,
    }
    insert_selected(Event, candidates.pick(who, contact="id", detail=spelled), alike=alike)
