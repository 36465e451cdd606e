"""A workspace is arranged: its name, domains, aliases and parameters."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from postroom.conversations.models.records import Alias
from postroom.diagnostics import events
from postroom.wire.address import AddressError, normalise
from postroom.wire.tokens import split_subaddress
from postroom.workspaces import parameters
from postroom.workspaces.models import MailDomain, Member, Workspace
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.time_zones import known_zone
from postroom.workspaces.walls import refuse_strangers

NAME_LENGTH = 120  # as much as the column takes


def rename(workspace: Workspace, name: str, *, by: Member) -> None:
    """Give the workspace another name; its address stays. Raises RequestRefused for one that is too long."""
    _refuse_unless_admin(by, workspace.pk)
    if len(name) > NAME_LENGTH:
        words = _("A name has at most %(length)d letters. Choose a shorter one.")
        raise RequestRefused(words % {"length": NAME_LENGTH})
    workspace.name = name
    with transaction.atomic():
        workspace.save(update_fields=["name"])
        events.note("workspace.renamed", workspace=workspace, member=by, name=name)


def set_time_zone(workspace: Workspace, name: str, *, by: Member) -> None:
    """Let the workspace live by another clock: its scheduled actions keep their hour in this zone.

    A run that is due already stays at its moment; the hour that it has in the new zone is kept from then on.
    Raises RequestRefused for what is no zone, naming those that are written nearly so.
    """
    _refuse_unless_admin(by, workspace.pk)
    zone = known_zone(name)
    if zone == workspace.time_zone:
        return
    before, workspace.time_zone = workspace.time_zone, zone
    with transaction.atomic():
        workspace.save(update_fields=["time_zone"])
        events.note("workspace.time_zone", workspace=workspace, member=by, before=before, after=zone)


def put_domain(domain: MailDomain, *, by: Member) -> MailDomain:
    """Add a mail domain, or store what was changed of one.

    Whoever has a domain gets its mail, so only an operator names one. Raises RequestRefused for anybody
    else, and for a domain that is none, that somebody has, or that is the installation's own.
    """
    domain.workspace = by.workspace if domain.pk is None else domain.workspace
    _refuse_unless_admin(by, domain.workspace_id)
    domain.domain = _normal_domain(domain.domain)
    for name in ("bounce_local_part", "catchall_local_part", "from_local_part"):
        setattr(domain, name, _normal_local_part(getattr(domain, name), domain))
    _refuse_taken_parts(domain)
    if domain.overrides_from:
        _refuse_foreign_from(domain, by)
    if not _is_named_so(domain):
        _refuse_unless_operator(by)
    words = _("%(domain)s is already a mail domain of this installation.") % {"domain": domain.domain}
    if _is_the_installations(domain.domain) and domain.domain != domain.workspace.subdomain:
        raise RequestRefused(words)
    _store(domain, words)
    events.note("domain.stored", workspace=by.workspace, member=by, domain=domain.domain)
    return domain


def _normal_domain(name: str) -> str:
    return _normal_address(f"postmaster@{name.strip()}").partition("@")[2]


def _normal_address(text: str) -> str:
    try:
        return normalise(text)
    except AddressError as error:
        raise RequestRefused(str(error)) from error


def _normal_local_part(text: str, domain: MailDomain) -> str:
    """A local part that makes an address with the domain, or a whole address, in its normal form.

    In ASCII, because most servers could not write back to another one.
    """
    given = _normal_address(text if "@" in text else f"{text}@{domain.domain}")
    if not given.isascii():
        raise RequestRefused(
            _("%(address)s has letters that most mail servers do not know. Use a to z and digits.")
            % {"address": given}
        )
    return given if "@" in text else given.partition("@")[0]


def _refuse_taken_parts(domain: MailDomain) -> None:
    """No two of its addresses may be the same, and mail to bounce alias and catchall opens no record."""
    own = (domain.bounce_local_part, domain.catchall_local_part)
    if len({*own, domain.from_local_part}) < 3:
        raise RequestRefused(_("Use a different word for each of these addresses."))
    _refuse_taken_from(domain)
    alias = Alias.objects.filter(mail_domain=domain.pk, local_part__in=own).first() if domain.pk else None
    if alias is not None:
        words = _("%(address)s is an alias already. Choose another word, or remove the alias first.")
        raise RequestRefused(words % {"address": alias.addr_spec})


def _refuse_taken_from(domain: MailDomain) -> None:
    """No mail goes out from where only delivery reports and replies are taken, of this domain or another."""
    others = MailDomain.objects.exclude(pk=domain.pk)
    local_part, _at, name = domain.from_addr_spec.partition("@")
    home = domain if name == domain.domain else others.filter(domain=name).first()
    is_taken = home is not None and _is_for_machines(local_part, home)
    froms = others.filter(from_local_part__endswith=f"@{domain.domain}")
    is_taken |= any(_is_for_machines(each.from_local_part.partition("@")[0], domain) for each in froms)
    if is_taken:
        raise RequestRefused(
            _("Mail cannot go out from a bounce alias or a catchall. Choose another address for it.")
        )


def _is_for_machines(local_part: str, domain: MailDomain) -> bool:
    """Is it the bounce alias, the catchall, or one of those made of them for each mail?"""
    base, _tag = split_subaddress(local_part)
    return base in (domain.bounce_local_part, domain.catchall_local_part)


def _refuse_foreign_from(domain: MailDomain, by: Member) -> None:
    """Every mail goes out from this address: it is the workspace's own, or an operator answers for it."""
    theirs = MailDomain.objects.filter(workspace=domain.workspace_id).values_list("domain", flat=True)
    known = {domain.domain, *theirs}
    is_kept = MailDomain.objects.filter(pk=domain.pk, from_local_part=domain.from_local_part).exists()
    if domain.from_local_part.partition("@")[2] not in known and not is_kept and not by.is_operator:
        raise RequestRefused(
            _("%(address)s is on no mail domain of this workspace. Choose one that is, or ask an operator.")
            % {"address": domain.from_local_part}
        )


def _is_named_so(domain: MailDomain) -> bool:
    return MailDomain.objects.filter(pk=domain.pk, domain=domain.domain).exists()


def _refuse_unless_operator(by: Member) -> None:
    if not by.is_operator:
        raise RequestRefused(_("Only an operator may add a mail domain or rename one. Ask an operator."))


def _is_the_installations(name: str) -> bool:
    own = _normal_domain(settings.POSTROOM_MAIL_DOMAIN)
    return name == own or name.endswith(f".{own}")


def make_default(domain: MailDomain, *, by: Member) -> None:
    """Let mail of the workspace go out from this domain."""
    _refuse_unless_admin(by, domain.workspace_id)
    with transaction.atomic():
        MailDomain.objects.filter(workspace_id=domain.workspace_id, is_default=True).update(is_default=False)
        MailDomain.objects.filter(pk=domain.pk).update(is_default=True)
        events.note("domain.default", workspace=by.workspace, member=by, domain=domain.domain)


def put_alias(alias: Alias, *, by: Member) -> Alias:
    """Add an alias, or store what was changed of one. Raises RequestRefused if the address is taken."""
    alias.workspace = by.workspace if alias.pk is None else alias.workspace
    _refuse_unless_admin(by, alias.workspace_id)
    refuse_strangers(alias.workspace_id, [alias.mail_domain, alias.forced_record])
    domain = alias.mail_domain
    alias.local_part = _normal_local_part(alias.local_part, domain).partition("@")[0]
    if alias.local_part in (domain.bounce_local_part, domain.catchall_local_part):
        raise RequestRefused(
            _("%(address)s is the bounce alias or the catchall.") % {"address": alias.addr_spec}
        )
    _store(alias, _("There is already an alias %(address)s.") % {"address": alias.addr_spec})
    events.note("alias.stored", workspace=by.workspace, member=by, address=alias.addr_spec)
    return alias


def remove_alias(alias: Alias, *, by: Member) -> None:
    """Take no more mail for this address."""
    _refuse_unless_admin(by, alias.workspace_id)
    with transaction.atomic():
        events.note("alias.removed", workspace=by.workspace, member=by, address=alias.addr_spec)
        alias.delete()


def set_parameter(workspace: Workspace, key: str, value: str, *, by: Member) -> None:
    """Override a system parameter, or with "" go back to its default.

    Raises RequestRefused for an unknown key or a value that does not fit.
    """
    _refuse_unless_admin(by, workspace.pk)
    parameters.refuse_unfit(key, value)
    with transaction.atomic():
        if field := parameters.KNOWN[key].of_domain:
            _set_of_domain(workspace, field, value.strip() or parameters.KNOWN[key].default, by)
        else:
            parameters.put(workspace.pk, key, value)
        events.note("parameter.set", workspace=workspace, member=by, key=key, value=value)


def _set_of_domain(workspace: Workspace, field: str, value: str, by: Member) -> None:
    """The value is in the default mail domain, and is refused there as on its own page."""
    domain = MailDomain.objects.select_for_update().filter(workspace=workspace, is_default=True).first()
    if domain is None:
        raise RequestRefused(_("This workspace has no mail domain yet. Ask an operator to add one."))
    setattr(domain, field, value)
    put_domain(domain, by=by)


def _refuse_unless_admin(by: Member, workspace_id: int) -> None:
    if not by.is_admin or by.workspace_id != workspace_id:
        raise RequestRefused(_("Only an administrator of the workspace may do this."))


def _store(row: Any, words_if_taken: str) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise RequestRefused(words_if_taken) from error
