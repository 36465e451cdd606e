"""Outgoing servers are set up, changed, archived and brought back."""

from __future__ import annotations

from collections.abc import Set

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from postroom import engine
from postroom.diagnostics import events
from postroom.flows import server_fields
from postroom.outgoing import allowances, holds, relays
from postroom.outgoing.models import Email, Lane, MailServer, State
from postroom.outgoing.routes import belongs_to_another
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

LIMITS = ("connection_limit", "limit_per_minute", "limit_per_hour", "limit_per_day", "max_size_megabytes")
CONNECTION = (
    "transport", "host", "port", "encryption", "is_certificate_checked", "authentication", "user", "password",
    "client_certificate", "client_key", "oauth", "esp", "esp_options",
)  # fmt: skip
#: Where mail goes, and who on the way could read or answer what is said there.
WAY = ("transport", "host", "port", "encryption", "is_certificate_checked")
#: The secrets that each way to log in uses.
NEEDED = {
    MailServer.Authentication.LOGIN: ("password",),
    MailServer.Authentication.CERTIFICATE: ("password", "client_key"),
    MailServer.Authentication.XOAUTH2: ("oauth",),
}
WRITTEN = (*CONNECTION, "name", "from_filter", "priority", "is_for_campaigns", *LIMITS)


def may_edit(server: MailServer, member: Member) -> bool:
    """Operators change the shared relay, administrators the others, and each member their personal one."""
    if server.is_shared:
        return member.is_operator
    if server.workspace_id != member.workspace_id:
        return False
    return member.is_admin or (server.owner_id is not None and server.owner_id == member.pk)


def put_server(server: MailServer, *, by: Member) -> MailServer:
    """Add a server to the workspace of `by`, or store what was changed of one.

    A new one that is not `is_active` is stored as archived. Of the shared relay only LIMITS can be changed.
    What waits for the server is tried with the new settings at once. A secret that is deferred
    stays what it is, unless the way to the server changes: then it has to be entered anew. Raises
    RequestRefused, which says what to write instead, and nothing was changed.
    """
    unread = server.get_deferred_fields()
    if server.pk is not None and server.is_shared:
        return _put_shared(server, by)
    server.workspace = by.workspace if server.pk is None else server.workspace
    _refuse_unless_editor(server, by)
    _refuse_other_owner(server)
    server_fields.put_in_order(server)
    _refuse_other_way(server, by)
    _refuse_foreign_domains(server)
    _refuse_secrets_of_another_way(server, unread)
    if server.pk is None or server.is_active:
        _refuse_twins(server)
    _store(server, by)
    return server


def used_by(server: MailServer) -> list[str]:
    """What still needs the server, in words; empty if it may be archived."""
    words = _waiting(server)
    if server.is_for_campaigns:
        words.append(_("It is the server for campaigns: take that mark away first."))
    if server.owner is not None and server.owner.is_active:
        words.append(_("It is the personal server of %(member)s.") % {"member": server.owner})
    return words


def archive(server: MailServer, *, by: Member) -> None:
    """Let no more mail be given to the server. Doing it twice changes nothing.

    Raises RequestRefused while something uses it (`used_by`); who owns it may archive it all the same.
    """
    _refuse_unless_editor(server, by)
    if server.is_shared:
        raise RequestRefused(
            _("The shared relay is set by RELAY_URL. Empty that setting to send without it.")
        )
    with transaction.atomic():
        _wait_for_posting(server)
        _refuse_while_used(server, by)
        holds.give_back(server.pk)
        _switch(server, by, is_active=False)


def _wait_for_posting(server: MailServer) -> None:
    """From here to the end of the transaction nothing is posted to it (`relays.stays_in_use`)."""
    list(MailServer.objects.select_for_update().filter(pk=server.pk).values_list("pk"))


def _refuse_while_used(server: MailServer, by: Member) -> None:
    uses = used_by(server)
    if server.owner is not None and server.owner_id == by.pk:
        uses = _waiting(server)
    if uses:
        raise RequestRefused(
            _("%(server)s cannot be archived. %(uses)s") % {"server": server.name, "uses": " ".join(uses)}
        )


def unarchive(server: MailServer, *, by: Member) -> None:
    """Let mail be given to the server again. Raises RequestRefused if another one has taken its place."""
    _refuse_unless_editor(server, by)
    _refuse_twins(server)
    _switch(server, by, is_active=True)


def is_unused(server: MailServer) -> bool:
    """Has it never carried mail, and could be removed?"""
    is_used = Email.objects.filter(Q(lane__server=server) | Q(lane__via=server)).exists()
    return not (server.is_shared or is_used or server.last_reached_at is not None)


def delete(server: MailServer, *, by: Member) -> None:
    """Remove a server that has never been used. Raises RequestRefused otherwise: it can be archived."""
    _refuse_unless_editor(server, by)
    if not is_unused(server):
        raise RequestRefused(
            _("%(server)s has carried mail, which still names it. Archive it instead.")
            % {"server": server.name}
        )
    with transaction.atomic():
        _note(server, by, "server.deleted")
        server.delete()


# Who may, and what may not be there twice.


def _refuse_unless_editor(server: MailServer, by: Member) -> None:
    if not server.is_shared:
        refuse_strangers(by.workspace_id, [server.owner])
    if may_edit(server, by):
        return
    if server.is_shared:
        raise RequestRefused(
            _("Only an operator may change the limits of the shared relay. Ask an operator.")
        )
    raise RequestRefused(_("Only an administrator of the workspace may do this."))


def _refuse_other_owner(server: MailServer) -> None:
    """Credentials of one person never become another's, or everybody's."""
    before = MailServer.objects.filter(pk=server.pk).values_list("owner_id", flat=True).first()
    if server.pk is not None and before != server.owner_id:
        raise RequestRefused(_("A server keeps its owner. Archive this one and add another."))
    if server.owner_id is not None and server.is_for_campaigns:
        raise RequestRefused(_("A personal server carries only its owner's mail, and no campaigns."))


def _refuse_other_way(server: MailServer, by: Member) -> None:
    """Nobody leads somebody else's password to another host."""
    if server.pk is None or server.owner_id in (None, by.pk):
        return
    if _is_changed(server, set(CONNECTION)):
        raise RequestRefused(
            _("Only %(member)s may change how their personal server is reached.") % {"member": server.owner}
        )


def _refuse_secrets_of_another_way(server: MailServer, unread: Set[str]) -> None:
    """Whoever changes a server has to know its secrets, or could lead them to where they can read them.

    Those that it does not use any more go.
    """
    if server.pk is None or server.transport != MailServer.Transport.SMTP:
        return
    before = MailServer.objects.filter(pk=server.pk).values_list(*WAY).get()
    if before == tuple(getattr(server, name) for name in WAY):
        return
    stored = [
        name for name in ("password", "client_key", "oauth") if name in unread and _is_set(server, name)
    ]
    needed = NEEDED[MailServer.Authentication(server.authentication)]
    words = {"password": _("Password"), "client_key": _("Private key"), "oauth": _("OAuth 2.0 access")}
    missing = [words[name] for name in stored if name in needed]
    if missing:
        raise RequestRefused(
            _(
                "Where or how this server is reached changes, so enter what is stored as a secret anew: "
                "%(secrets)s. Secrets are never sent to another place than the one they were entered for."
            )
            % {"secrets": ", ".join(missing)}
        )
    for name in stored:
        setattr(server, name, "")


def _is_set(server: MailServer, name: str) -> bool:
    return MailServer.objects.filter(pk=server.pk).exclude(**{name: ""}).exists()


def _is_changed(server: MailServer, names: set[str]) -> bool:
    """Is one of these other than stored? A secret that was not read is not."""
    before = MailServer.objects.get(pk=server.pk)
    return any(
        getattr(before, name) != getattr(server, name) for name in names - server.get_deferred_fields()
    )


def _refuse_foreign_domains(server: MailServer) -> None:
    """Nobody speaks for another workspace, whatever their server would take."""
    domain = belongs_to_another(server.workspace_id, relays.filter_of(server).all_domains)
    if domain:
        raise RequestRefused(
            _("%(domain)s is a mail domain of another workspace. Take it out of FROM Filtering.")
            % {"domain": domain}
        )


def _refuse_twins(server: MailServer) -> None:
    """Among the active servers a name is there once, and so are a member's server and that for campaigns."""
    others = MailServer.objects.filter(workspace=server.workspace_id, is_active=True).exclude(pk=server.pk)
    if others.filter(name__iexact=server.name).exists():
        raise RequestRefused(
            _("There is already a server %(name)s. Give this one another name.") % {"name": server.name}
        )
    if server.owner_id is not None and others.filter(owner=server.owner_id).exists():
        raise RequestRefused(
            _("%(member)s already has a personal server. Archive that one first.") % {"member": server.owner}
        )
    for_campaigns = others.filter(is_for_campaigns=True).first() if server.is_for_campaigns else None
    if for_campaigns is not None:
        raise RequestRefused(
            _("%(server)s is already the server for campaigns. Take that mark away from it first.")
            % {"server": for_campaigns.name}
        )


# Storing.


def _put_shared(server: MailServer, by: Member) -> MailServer:
    _refuse_unless_editor(server, by)
    if _is_changed(server, set(WRITTEN) - set(LIMITS)):
        raise RequestRefused(
            _(
                "The shared relay is set by RELAY_URL and RELAY_FROM_FILTER. Here only its limits can be "
                "changed."
            )
        )
    server_fields.check_limits(server)
    _save(server, by, LIMITS)
    return server


def _store(server: MailServer, by: Member) -> None:
    try:
        if server.pk is not None:
            _save(server, by, WRITTEN)
            return
        with transaction.atomic():
            server.save()
            _note(server, by, "server.added")
    except IntegrityError as error:  # somebody else was quicker
        raise RequestRefused(_("There is already such a server. Look at the list again.")) from error


def _save(server: MailServer, by: Member, names: tuple[str, ...]) -> None:
    """Only what is written by people: its state is the engine's. A secret that was not read stays."""
    with transaction.atomic():
        server.save(update_fields=set(names) - server.get_deferred_fields())
        _note(server, by, "server.changed")
        _try_anew(server)


def _switch(server: MailServer, by: Member, *, is_active: bool) -> None:
    if server.is_active == is_active:
        return
    server.is_active = is_active
    try:
        with transaction.atomic():
            server.save(update_fields=["is_active"])
            _note(server, by, "server.unarchived" if is_active else "server.archived")
            _try_anew(server)
    except IntegrityError as error:
        server.is_active = not is_active
        raise RequestRefused(_("There is already such a server. Look at the list again.")) from error


def _try_anew(server: MailServer) -> None:
    holds.reopen(server.pk)
    allowances.release_lanes(server_ids=[server.pk])
    lane = server.engine_lane
    transaction.on_commit(lambda: engine.wake(lane))


def _note(server: MailServer, by: Member, kind: str) -> None:
    events.note(kind, workspace=by.workspace, member=by, server=server.name, host=server.host)


def _waiting(server: MailServer) -> list[str]:
    words = []
    waiting = Email.objects.filter(state=State.OUTGOING)
    count = waiting.filter(lane__server=server).count()
    if count:
        words.append(
            ngettext(
                "%(count)s email waits for it: send or cancel it first.",
                "%(count)s emails wait for it: send or cancel them first.",
                count,
            )
            % {"count": count}
        )
    stood_in_for = Lane.objects.filter(via=server, emails__in=waiting).select_related("server").first()
    if stood_in_for is not None:
        words.append(
            _("It stands in for %(server)s while that cannot be reached.")
            % {"server": stood_in_for.server.name}
        )
    return words
