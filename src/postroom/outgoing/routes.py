"""How a mail of a workspace leaves: the server, the header From and the reverse-path that go together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
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
    does not accept the header From. `why`: why that is not `wanted_from`. `has_foreign_from`: only this
    server's filter lets us use it, for its domain is not one of the workspace.
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
    has_foreign_from: bool = False

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


def belongs_to_another(workspace_id: int | None, domains: Collection[str]) -> str:
    """The first of these domains whose mail belongs to another workspace; empty if none does."""
    others = MailDomain.objects.filter(domain__in=domains).exclude(workspace=workspace_id)
    return others.order_by("domain").values_list("domain", flat=True).first() or ""


class Crossroads:
    """What a workspace can choose between, read once for many messages."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._default = origin.default_domain(workspace)
        self._domains = {row.domain: row for row in MailDomain.objects.filter(workspace=workspace)}
        self._servers = {server.pk: server for server in relays.servers_of(workspace)}
        self._shared = relays.shared_server()
        self._max_octets: dict[int, int] = {}
        self._anothers: dict[str, bool] = dict.fromkeys(self._domains, False)

    def route_of(
        self,
        author: Contact | None,
        *,
        wanted: Mailbox | None = None,
        fixed: MailServer | None = None,
        is_campaign: bool = False,
        may_be_personal: bool = True,
        is_anothers: bool = False,
    ) -> Route:
        """Choose for a message of this author (None: the workspace itself).

        `wanted` is the From that the mail already has; None means the author's own. `fixed` is the server
        that was named for it; `may_be_personal` says whether the author's own server may be used, which is
        for nobody else. `is_anothers`: the wanted From is somebody's in whose name the mail may not leave.
        Raises ServerUnusable or AcrossTheWall.
        """
        if fixed is not None:
            self._refuse_unless_usable(fixed, author if may_be_personal else None)
        wanted = wanted or origin.wanted_from(self.workspace, self._default, author)
        servers = Servers(
            own=[_candidate(server) for server in self._servers.values() if server.owner_id is None],
            shared=_candidate(self._shared),
            is_shared_set=bool(settings.POSTROOM_RELAY_URL),
            personal=self._personal(author, wanted.addr_spec) if may_be_personal else None,
            fixed=_candidate(fixed, author) if fixed else None,
        )
        is_personal = fixed is not None and fixed.owner_id is not None
        is_anothers = is_anothers or (is_personal and not _is_login_of(author, wanted.addr_spec))
        sender = self._sender(wanted, is_anothers or self._is_of_another_workspace(wanted.domain))
        return self._route(choose(sender, servers, is_campaign=is_campaign), fixed, author)

    def secret_route(self, wanted: Mailbox | None) -> Route:
        """For a mail that opens a login: over the shared relay, which nobody in the workspace controls."""
        return replace(self.route_of(None, wanted=wanted, fixed=self._shared), rule=Rule.SECRET)

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

    def _personal(self, author: Contact | None, wanted: str) -> Candidate | None:
        """Whatever its owner enters as its filter, it carries what is from the owner's login alone."""
        owned = (server for server in self._servers.values() if _is_owned(server, author))
        found = next(owned, None)
        return _candidate(found, author) if found and _is_login_of(author, wanted) else None

    def _is_of_another_workspace(self, domain: str) -> bool:
        if domain not in self._anothers:
            self._anothers[domain] = bool(belongs_to_another(self.workspace.pk, [domain]))
        return self._anothers[domain]

    def _sender(self, wanted: Mailbox, is_anothers: bool) -> Sender:
        return Sender(
            wanted=wanted,
            default=self._default.from_addr_spec,
            own_domains=frozenset(self._domains),
            is_overridden=self._default.overrides_from,
            is_anothers=is_anothers,
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
            has_foreign_from=self._is_foreign(choice.header_from),
        )

    def _is_foreign(self, from_: Mailbox) -> bool:
        return from_.domain not in self._domains and from_.addr_spec != self._default.from_addr_spec

    def _max_octets_of(self, server: MailServer) -> int:
        if server.pk not in self._max_octets:
            self._max_octets[server.pk] = relays.max_octets_of(server, self.workspace.pk)
        return self._max_octets[server.pk]


def _is_owned(server: MailServer, author: Contact | None) -> bool:
    return server.owner_id is not None and author is not None and author.member_id == server.owner_id


def _is_login_of(author: Contact | None, addr_spec: str) -> bool:
    member = author.member if author is not None else None
    return member is not None and member.user.email.casefold() == addr_spec


def _candidate(server: MailServer, author: Contact | None = None) -> Candidate:
    named = _filter_of(server, author)
    return Candidate(
        server.pk, named, server.priority, server.name, server.is_for_campaigns, server.is_shared
    )


def _filter_of(server: MailServer, author: Contact | None) -> FromFilter:
    """What it accepts; a personal server without a filter accepts its owner's own address."""
    found = relays.filter_of(server)
    if found.is_any and _is_owned(server, author) and author is not None and author.addr_spec:
        return FromFilter(frozenset({author.addr_spec}))
    return found
