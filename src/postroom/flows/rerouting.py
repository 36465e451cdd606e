"""Emails that are sent again leave over the server that would be chosen for them today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

from postroom.conversations.models import Message
from postroom.conversations.models.messages import Kind
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.models import Event
from postroom.outgoing import relays
from postroom.outgoing.capturing import SECRET_LAYOUT
from postroom.outgoing.choosing import Rule
from postroom.outgoing.models import Lane, MailServer, Rendition
from postroom.outgoing.queue import EmailQuerySet
from postroom.outgoing.routes import Crossroads, Route
from postroom.wire.address import Mailbox
from postroom.workspaces.models import Workspace
from postroom.workspaces.refusals import RequestRefused


@dataclass(frozen=True, slots=True)
class _Alike:
    """Emails of one message with the same octets in the same lane."""

    message: Message
    rendition: Rendition | None
    lane: Lane


def reroute(group: EmailQuerySet) -> None:
    """Move a locked group to the lanes of the servers that would be chosen now.

    The octets stay as they were written: where another From or return path would result, the Emails keep
    their server. Raises RequestRefused if that one is archived, or if the text of one is no longer stored;
    nothing of the group was moved then.
    """
    _refuse_empty(group)
    moves = list(_moves(group))
    for alike, server in moves:
        lane = relays.lane_of(
            alike.message.workspace,
            alike.lane.stream,
            server,
            has_foreign_from=alike.lane.has_foreign_from,
        )
        group.filter(message=alike.message, rendition=alike.rendition, lane=alike.lane).update(lane=lane)
    for server in MailServer.objects.filter(lanes__emails__in=group).distinct().order_by("pk"):
        if not relays.stays_in_use(server):
            raise _stranded(server)


def refuse_stranded(emails: EmailQuerySet) -> None:
    """Raise RequestRefused if one of them has no text any more, or only an archived server to leave over."""
    _refuse_empty(emails)
    for _move in _moves(emails.filter(lane__server__is_active=False)):
        continue


def stranded(group: EmailQuerySet) -> dict[int, str]:
    """Which of a group cannot leave, by id, with what to do about it.

    Their text is no longer stored, or they could only leave over a server that is archived.
    """
    found = dict.fromkeys(_without_text(group).values_list("pk", flat=True), _no_text())
    for alike in _alike(group.filter(lane__server__is_active=False)):
        same = group.filter(message=alike.message, rendition=alike.rendition, lane=alike.lane)
        try:
            list(_moves(same))
        except RequestRefused as refusal:
            found = dict.fromkeys(same.values_list("pk", flat=True), str(refusal)) | found
    return found


def _refuse_empty(emails: EmailQuerySet) -> None:
    if _without_text(emails).exists():
        raise RequestRefused(_no_text())


def _without_text(emails: EmailQuerySet) -> EmailQuerySet:
    """Those whose text Auto-Vacuum has emptied: a bounce came long after everything was Sent."""
    return emails.filter(rendition__octets=b"")


def _no_text() -> str:
    return _(
        "The text of this mail is no longer stored, because it was sent long ago. Write the message again."
    )


def _moves(emails: EmailQuerySet) -> Iterator[tuple[_Alike, MailServer]]:
    """What is to be moved, and to which server. Raises RequestRefused for what is stranded."""
    ways = _Ways()
    for alike in _alike(emails):
        route = ways.of(alike)
        if route is not None and _is_the_same(route, alike.rendition):
            if route.server.pk != alike.lane.server_id:
                yield alike, route.server
        elif not alike.lane.server.is_active:
            other = ways.another_for(alike)
            if other is None:
                raise _stranded(alike.lane.server)
            yield alike, other


def _stranded(server: MailServer) -> RequestRefused:
    return RequestRefused(
        _(
            "This mail was written for the outgoing server %(server)s, which is archived, and no "
            "other one can send it as it is. Bring that server back, or write the message again."
        )
        % {"server": server.name}
    )


def _alike(emails: EmailQuerySet) -> Iterator[_Alike]:
    keys = set(emails.order_by().values_list("message_id", "rendition_id", "lane_id").distinct())
    messages = Message.objects.select_related("author__address", "workspace").in_bulk(
        {key[0] for key in keys}
    )
    renditions = Rendition.objects.defer("octets").in_bulk({key[1] for key in keys if key[1]})
    hidden = [f"server__{name}" for name in relays.SECRETS]
    lanes = Lane.objects.select_related("server").defer(*hidden).in_bulk({key[2] for key in keys})
    for message_id, rendition_id, lane_id in sorted(keys, key=lambda key: (key[0], key[2], key[1] or 0)):
        yield _Alike(messages[message_id], renditions.get(rendition_id or 0), lanes[lane_id])


class _Ways:
    """Routes of today, each looked up once."""

    def __init__(self) -> None:
        self._crossroads: dict[int, Crossroads] = {}
        self._routes: dict[tuple[int, int | None, bool], Route] = {}

    def of(self, alike: _Alike) -> Route | None:
        """How it would leave now; None if its way was named, or is that of its mailing."""
        message = alike.message
        if alike.lane.message_id is not None or _is_secret(alike.rendition) or _is_fixed(message):
            return None
        # A program may have handed it over in another's name: that one's personal server is not for it.
        may_be_personal = message.kind != Kind.SUBMISSION
        key = (message.workspace_id, message.author_id, may_be_personal)
        if key not in self._routes:
            here = self._at(message.workspace)
            self._routes[key] = here.route_of(message.author, may_be_personal=may_be_personal)
        return self._routes[key]

    def another_for(self, alike: _Alike) -> MailServer | None:
        """The first server, in the order of the choice, that would send it just as it is written."""
        message, rendition = alike.message, alike.rendition
        if alike.lane.message_id is not None or rendition is None or not rendition.from_addr_spec:
            return None
        if _is_secret(rendition) or _is_fixed(message):
            return None
        wanted = Mailbox("", rendition.from_addr_spec)
        for server in _in_order(message):
            route = self._at(message.workspace).route_of(message.author, wanted=wanted, fixed=server)
            if not route.is_warning and _may_leave_as_written(route, rendition):
                return server
        return None

    def _at(self, workspace: Workspace) -> Crossroads:
        if workspace.pk not in self._crossroads:
            self._crossroads[workspace.pk] = Crossroads(workspace)
        return self._crossroads[workspace.pk]


def _in_order(message: Message) -> list[MailServer]:
    """The author's own server, those with a filter, those without, the shared relay."""
    found = relays.servers_of(message.workspace).filter(is_for_campaigns=False)
    owner_id = message.author.member_id if message.author else None
    mine = [one for one in found if owner_id and one.owner_id == owner_id and message.kind != Kind.SUBMISSION]
    own = sorted((one for one in found if not one.owner_id), key=lambda one: relays.filter_of(one).is_any)
    return [*mine, *own, *([relays.shared_server()] if settings.POSTROOM_RELAY_URL else [])]


def _is_secret(rendition: Rendition | None) -> bool:
    """It opens a login: no server that a workspace controls may ever see it."""
    return rendition is not None and rendition.layout == SECRET_LAYOUT


def _is_fixed(message: Message) -> bool:
    chosen = Event.objects.filter(message=message, kind=EventKind.ROUTE, email_id=None)
    return chosen.filter(detail__rule=str(Rule.FIXED)).exists()


def _may_leave_as_written(route: Route, rendition: Rendition) -> bool:
    """Is the From kept, and the return path either the same or, as on its old server, just the From?"""
    if _is_the_same(route, rendition):
        return True
    from_ = rendition.from_addr_spec
    return from_ == route.from_.addr_spec == rendition.reverse_path


def _is_the_same(route: Route, rendition: Rendition | None) -> bool:
    """Would the route write the same From and return path as are written already?"""
    if rendition is None or not rendition.from_addr_spec:
        return False
    written = (rendition.from_addr_spec, rendition.reverse_path, rendition.return_domain)
    return written == (route.from_.addr_spec, route.reverse_path, route.return_domain)
