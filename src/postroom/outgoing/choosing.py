"""Which server carries a mail and from whom it may then say it is: rules over plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from postroom.wire.address import Mailbox, without_addresses
from postroom.wire.from_filter import FromFilter


class Rule(StrEnum):
    """Why a server was chosen, in the order in which the rules are asked."""

    FIXED = "fixed"  # whoever wrote the mail named the server
    SECRET = "secret"  # it opens a login, so it goes over no server that a workspace controls
    CAMPAIGNS = "campaigns"  # the server for campaigns carries a campaign
    PERSONAL = "personal"  # the author's own server lets them send from this address
    FROM_ADDRESS = "from_address"  # its filter names the From address
    FROM_DOMAIN = "from_domain"  # its filter names the domain of From
    NOTIFICATION_ADDRESS = "notification_address"  # its filter names the default From address
    NOTIFICATION_DOMAIN = "notification_domain"  # its filter names the domain of the default From
    UNFILTERED = "unfiltered"  # the first one without a filter
    SHARED = "shared"  # the relay of the whole installation
    FIRST = "first"  # the first one at all, though it does not let us send from here


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server as far as the choice looks at it."""

    id: int
    filter: FromFilter
    priority: int = 10
    name: str = ""
    is_for_campaigns: bool = False
    is_shared: bool = False


class Why(StrEnum):
    """Why the header From is not the address that was wanted."""

    KEPT = ""  # it is
    NOT_ASCII = "not_ascii"  # most servers and readers know no letters beyond ASCII in an address
    OVERRIDDEN = "overridden"  # a whole address is set as the default From
    FILTERED = "filtered"  # the server's filter does not name it
    NOT_OURS = "not_ours"  # the server takes any, but the domain is not ours: SPF and DKIM would not align
    ANOTHERS = "anothers"  # it is a mail domain of another workspace, or another member's address


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What can be chosen.

    `own` are the workspace's active servers but for personal ones. `shared` is the relay of the installation,
    which is chosen only if `is_shared_set`, or if there is nothing else: the mail then waits for it.
    `personal` is the author's own server; its filter names their address if nothing else is filtered there.
    """

    own: Sequence[Candidate]
    shared: Candidate
    is_shared_set: bool
    personal: Candidate | None = None
    fixed: Candidate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """From whom a mail should be.

    `wanted` is the author's mailbox, `default` the address that stands in for it (the notification address).
    `own_domains` are the workspace's mail domains. `is_overridden`: every From becomes the default one.
    `is_anothers`: the wanted address is somebody else's to use, whatever a server would let through.
    """

    wanted: Mailbox
    default: str
    own_domains: frozenset[str]
    is_overridden: bool = False
    is_anothers: bool = False

    @property
    def effective(self) -> Mailbox:
        """Who it is from as long as no server minds.

        An address beyond ASCII never is: only who speaks SMTPUTF8 could read it, on the whole way.
        """
        is_kept = self.wanted.addr_spec.isascii() and not (self.is_overridden or self.is_anothers)
        return self.wanted if is_kept else self.rewritten

    @property
    def rewritten(self) -> Mailbox:
        """The author's name, or else their local part, at the default From.

        Addresses in a name go: many readers show nothing but the name, and this one is not checked.
        """
        names = (without_addresses(name) for name in (self.wanted.display_name, self.wanted.local_part))
        return Mailbox(next(filter(None, names), ""), self.default)


@dataclass(frozen=True, slots=True)
class Choice:
    """The server and the From that go together.

    `is_rewritten`: the header From is not the address that was wanted; `why` says why not. `is_warning`: the
    server's filter does not accept the header From either, so it may well refuse the mail.
    """

    server_id: int
    rule: Rule
    header_from: Mailbox
    wanted_from: Mailbox
    is_rewritten: bool
    is_warning: bool
    why: Why = Why.KEPT


def choose(sender: Sender, servers: Servers, *, is_campaign: bool = False) -> Choice:
    """The first rule that finds a server, and the From that this server lets us use."""
    server, rule = _found(sender, servers, is_campaign)
    header_from = sender.effective if _is_kept(server, sender) else sender.rewritten
    is_rewritten = header_from.addr_spec != sender.wanted.addr_spec
    return Choice(
        server.id,
        rule,
        header_from,
        sender.wanted,
        is_rewritten,
        not server.filter.accepts_address(header_from.addr_spec),
        _why(server, sender) if is_rewritten else Why.KEPT,
    )


def return_path(filter: FromFilter, bounce_addr_spec: str, header_from: Mailbox) -> str:
    """The whole reverse-path, or "" if the server lets us use a signed one at the bounce address."""
    return "" if filter.accepts_address(bounce_addr_spec) else header_from.addr_spec


def in_order(servers: Sequence[Candidate]) -> list[Candidate]:
    """By priority (lower goes first), then by name, then by age."""
    return sorted(servers, key=lambda server: (server.priority, server.name.casefold(), server.id))


def _found(sender: Sender, servers: Servers, is_campaign: bool) -> tuple[Candidate, Rule]:
    if servers.fixed is not None:
        return servers.fixed, Rule.FIXED
    own = in_order(servers.own)
    for_campaigns = next((server for server in own if server.is_for_campaigns), None)
    if is_campaign and for_campaigns is not None:
        return for_campaigns, Rule.CAMPAIGNS
    if servers.personal and not is_campaign and _accepts(servers.personal.filter, sender.effective):
        return servers.personal, Rule.PERSONAL
    ordinary = _ordinary(own, servers)
    return (
        _by_filter(sender, ordinary)
        or _shared(sender, servers, ordinary)
        or ((ordinary[0], Rule.FIRST) if ordinary else (servers.shared, Rule.SHARED))
    )


def _accepts(named: FromFilter, mailbox: Mailbox) -> bool:
    return not named.is_any and named.accepts_address(mailbox.addr_spec)


def _ordinary(own: Sequence[Candidate], servers: Servers) -> list[Candidate]:
    """What carries other mail than campaigns: the server for campaigns only where there is nothing else."""
    ordinary = [server for server in own if not server.is_for_campaigns]
    return ordinary if ordinary or servers.is_shared_set else list(own)


def _by_filter(sender: Sender, ordinary: Sequence[Candidate]) -> tuple[Candidate, Rule] | None:
    from_, default = sender.effective, Mailbox("", sender.default)
    tests: list[tuple[Rule, Callable[[FromFilter], bool]]] = [
        (Rule.FROM_ADDRESS, lambda named: named.accepts_exactly(from_.addr_spec)),
        (Rule.FROM_DOMAIN, lambda named: named.accepts_domain(from_.domain)),
        (Rule.NOTIFICATION_ADDRESS, lambda named: named.accepts_exactly(default.addr_spec)),
        (Rule.NOTIFICATION_DOMAIN, lambda named: named.accepts_domain(default.domain)),
        (Rule.UNFILTERED, lambda named: named.is_any),
    ]
    found = ((server, rule) for rule, fits in tests for server in ordinary if fits(server.filter))
    return next(found, None)


def _shared(sender: Sender, servers: Servers, ordinary: Sequence[Candidate]) -> tuple[Candidate, Rule] | None:
    """The shared relay, unless its filter wants neither From while there are others to fall back on."""
    if not servers.is_shared_set:
        return None
    is_fitting = _is_kept(servers.shared, sender) or servers.shared.filter.accepts_address(sender.default)
    return (servers.shared, Rule.SHARED) if is_fitting or not ordinary else None


def _why(server: Candidate, sender: Sender) -> Why:
    if sender.is_overridden:
        return Why.OVERRIDDEN
    if sender.is_anothers:
        return Why.ANOTHERS
    if not sender.wanted.addr_spec.isascii():
        return Why.NOT_ASCII
    is_ours = sender.wanted.domain in sender.own_domains
    return Why.FILTERED if is_ours or not _is_for_own_only(server) else Why.NOT_OURS


def _is_kept(server: Candidate, sender: Sender) -> bool:
    """Does the wanted From stay? Where anything goes, only on our own domains, so that DMARC aligns.

    On the shared relay, too: its filter names the domains of all workspaces, and speaks for none of them.
    """
    from_ = sender.effective
    is_ours = from_.domain in sender.own_domains or not _is_for_own_only(server)
    return is_ours and server.filter.accepts_address(from_.addr_spec)


def _is_for_own_only(server: Candidate) -> bool:
    return server.filter.is_any or server.is_shared
