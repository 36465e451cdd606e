"""Outgoing servers as pages show them: where, from whom, in which state, how much of its limits is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from postroom.diagnostics.wording import why_held
from postroom.flows import mail_servers, server_shapes
from postroom.flows.server_shapes import Place, ServerState, UseShape
from postroom.outgoing.esp import PROVIDERS
from postroom.outgoing.models import MailServer
from postroom.workspaces.models import Member


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One line of the list. `place` None: where it is is not for this member to see, or not set."""

    server: MailServer
    place: Place | None
    from_filter: str
    state: ServerState
    why: str
    uses: Sequence[UseShape]
    may_edit: bool
    may_test: bool

    @property
    def provider(self) -> str:
        """The provider whose API takes its mail; empty if it takes mail by SMTP."""
        known = PROVIDERS.get(self.server.esp)
        return known.label if known else self.server.esp

    @property
    def encryption(self) -> str:
        """How the connection is protected, in words; an unchecked certificate is always named."""
        if self.place is None or not self.place.encryption:
            return ""
        words = str(MailServer.Encryption(self.place.encryption).label)
        if self.place.encryption == MailServer.Encryption.NONE:
            return _("not encrypted")
        return (
            words
            if self.place.is_certificate_checked
            else _("%(how)s, certificate not checked") % {"how": words}
        )

    @property
    def used_words(self) -> list[str]:
        """Each of its limits with what the running minute, hour or day has used."""
        words = {
            "minute": _("%(used)d of %(limit)d this minute"),
            "hour": _("%(used)d of %(limit)d this hour"),
            "day": _("%(used)d of %(limit)d today (UTC)"),
        }
        return [words[use.unit] % {"used": use.used, "limit": use.limit} for use in self.uses]


def server_rows(member: Member, now: datetime) -> list[ServerRow]:
    """All servers that a member may see, in the order in which they are asked."""
    found = list(server_shapes.servers_to_show(member))
    uses = server_shapes.uses_of(found, now)
    return [_row(server, member, uses[server.pk], now) for server in found]


def server_row(server: MailServer, member: Member, now: datetime) -> ServerRow:
    """One of `flows.server_shapes.servers_to_show`."""
    return _row(server, member, server_shapes.uses_of([server], now)[server.pk], now)


def _row(server: MailServer, member: Member, uses: Sequence[UseShape], now: datetime) -> ServerRow:
    is_hidden = server.is_shared and not member.is_operator
    place = None if is_hidden else server_shapes.place_of(server)
    return ServerRow(
        server,
        place if place and place.host else None,
        server_shapes.filter_words_of(server),
        server_shapes.state_of(server, now),
        why_held(server.down_because) if server.down_because else "",
        uses,
        mail_servers.may_edit(server, member),
        member.is_operator if server.is_shared else mail_servers.may_edit(server, member),
    )
