"""How a mail of a workspace leaves: the server, the header From and the reverse-path that go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from postroom.conversations.models import Contact
from postroom.outgoing import origin, relays
from postroom.outgoing.choosing import Candidate, Choice, Rule, Sender, Servers, Why, choose, return_path
from postroom.outgoing.models import MailServer
from postroom.wire.address import Mailbox
from postroom.wire.from_filter import FromFilter
from postroom.workspaces.models import MailDomain, Workspace
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused


class ServerUnusable(RequestRefused):
    """The server that was named for a mail may not carry it."""


@dataclass(frozen=True, slots=True)
class Route:
    """What was decided for one message.

    `reverse_path` is the whole reverse-path where it may not be a signed one; empty: it is signed, at
    `return_domain`. `max_octets` is how large a mail the server takes. `is_warning`: the server's filter
    does not accept the header From. `why`: why that is not `wanted_from`.
    """

    server: MailServer
    from_: Mailbox
    wanted_from: str
    rule: Rule
    reverse_path: str
    return_domain: str
    max_octets: int | None
    is_warning: bool = False
    why: Why = Why.KEPT

    def detail(self) -> dict[str, Any]:
        """The decision as the trail keeps it (Event `route.chosen`)."""
        return {
            "server": self.server.name,
            "rule": str(self.rule),
            "wanted_from": self.wanted_from,
            "from": self.from_.addr_spec,
            "return_path": "from" if self.reverse_path else "signed",
            "return_domain": self.return_domain,
            "is_warning": self.is_warning,
            "why": str(self.why),
        }


def route_of(
    workspace: Workspace,
    author: Contact | None,
    *,
    wanted: Mailbox | None = None,
    fixed: MailServer | None = None,
    is_campaign: bool = False,
    may_be_personal: bool = True,
) -> Route:
    """Choose for one message (`Crossroads.route_of`). Raises ServerUnusable and MailDomain.DoesNotExist."""
    return Crossroads(workspace).route_of(
        author, wanted=wanted, fixed=fixed, is_campaign=is_campaign, may_be_personal=may_be_personal
    )


class Crossroads:
    """What a workspace can choose between, read once for many messages."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._default = origin.default_domain(workspace)
        self._domains = {row.domain: row for row in MailDomain.objects.filter(workspace=workspace)}
        self._servers = {server.pk: server for server in relays.servers_of(workspace)}
        self._shared = relays.shared_server()
        self._max_octets: dict[int, int] = {}

    def route_of(
        self,
        author: Contact | None,
        *,
        wanted: Mailbox | None = None,
        fixed: MailServer | None = None,
        is_campaign: bool = False,
        may_be_personal: bool = True,
    ) -> Route:
        """Choose for a message of this author (None: the workspace itself).

        `wanted` is the From that the mail already has; None means the author's own. `fixed` is the server
        that was named for it; `may_be_personal` says whether the author's own server may be used, which is
        for nobody else. Raises ServerUnusable or AcrossTheWall.
        """
        if fixed is not None:
            self._refuse_unless_usable(fixed, author if may_be_personal else None)
        servers = Servers(
            own=[_candidate(server) for server in self._servers.values() if server.owner_id is None],
            shared=_candidate(self._shared),
            is_shared_set=bool(settings.POSTROOM_RELAY_URL),
            personal=self._personal(author) if may_be_personal else None,
            fixed=_candidate(fixed, author) if fixed else None,
        )
        sender = self._sender(wanted or origin.wanted_from(self.workspace, self._default, author))
        return self._route(choose(sender, servers, is_campaign=is_campaign), fixed, author)

    def _refuse_unless_usable(self, fixed: MailServer, author: Contact | None) -> None:
        if fixed.workspace_id not in (None, self.workspace.pk):
            raise AcrossTheWall(_("This belongs to another workspace. Choose something of this workspace."))
        if not fixed.is_active:
            raise ServerUnusable(
                _("The outgoing server %(server)s is archived. Choose another one, or bring it back first.")
                % {"server": fixed.name}
            )
        if fixed.owner_id is not None and not _is_owned(fixed, author):
            raise ServerUnusable(
                _("%(server)s is somebody's personal server and carries only their mail. Choose another one.")
                % {"server": fixed.name}
            )

    def _personal(self, author: Contact | None) -> Candidate | None:
        owned = (server for server in self._servers.values() if _is_owned(server, author))
        found = next(owned, None)
        return _candidate(found, author) if found else None

    def _sender(self, wanted: Mailbox) -> Sender:
        return Sender(
            wanted=wanted,
            default=self._default.from_addr_spec,
            own_domains=frozenset(self._domains),
            is_overridden=self._default.overrides_from,
        )

    def _route(self, choice: Choice, fixed: MailServer | None, author: Contact | None) -> Route:
        known = {self._shared.pk: self._shared, **self._servers}
        server = fixed or known[choice.server_id]
        domain = self._domains.get(choice.header_from.domain, self._default)
        bounce_addr_spec = f"{domain.bounce_local_part}@{domain.domain}"
        reverse_path = return_path(_filter_of(server, author), bounce_addr_spec, choice.header_from)
        return Route(
            server,
            choice.header_from,
            choice.wanted_from.addr_spec,
            choice.rule,
            reverse_path,
            "" if reverse_path else domain.domain,
            self._max_octets_of(server),
            choice.is_warning,
            choice.why,
        )

    def _max_octets_of(self, server: MailServer) -> int:
        if server.pk not in self._max_octets:
            self._max_octets[server.pk] = relays.max_octets_of(server, self.workspace.pk)
        return self._max_octets[server.pk]


def _is_owned(server: MailServer, author: Contact | None) -> bool:
    return server.owner_id is not None and author is not None and author.member_id == server.owner_id


def _candidate(server: MailServer, author: Contact | None = None) -> Candidate:
    named = _filter_of(server, author)
    return Candidate(server.pk, named, server.priority, server.name, server.is_for_campaigns)


def _filter_of(server: MailServer, author: Contact | None) -> FromFilter:
    """What it accepts; a personal server without a filter accepts its owner's own address."""
    found = relays.filter_of(server)
    if found.is_any and _is_owned(server, author) and author is not None and author.addr_spec:
        return FromFilter(frozenset({author.addr_spec}))
    return found
