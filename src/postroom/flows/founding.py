"""A workspace is founded, and people are let in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from postroom.conversations.models import Address, Alias, Contact, Record, Subtype
from postroom.diagnostics import events
from postroom.flows import recording
from postroom.schedule import planning
from postroom.wire.address import AddressError, normalise
from postroom.workspaces import logins
from postroom.workspaces.models import MailDomain, Member, Role, Workspace
from postroom.workspaces.placeholders import is_placeholder
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

WORKSPACE_MODEL = "postroom.workspace"


@dataclass(frozen=True, slots=True)
class Founded:
    """A new workspace and the member who administers it.

    `password` is the one that was made because none was given; None if it was given, or if the person
    already had a login.
    """

    workspace: Workspace
    member: Member
    password: str | None

    @property
    def login_url(self) -> str:
        """Where the member logs in."""
        return logins.login_url()


def found_workspace(
    *,
    name: str,
    slug: str,
    admin_address: str | None,
    admin_name: str = "",
    password: str | None = None,
    language: str = "en",
) -> Founded:
    """Make a workspace with its mail domain, subtypes, scheduled actions, administrator and admin@ address.

    Its plan, and by that its daily limit, is POSTROOM_DEFAULT_PLAN.
    The first administrator of an installation becomes its operator. `admin_address=None` gives the
    placeholder admin@<slug>.<POSTROOM_MAIL_DOMAIN>. Raises RequestRefused for a slug that is taken or
    malformed, AddressError for an address that is none.
    """
    with transaction.atomic():
        workspace = _open_workspace(name=name, slug=slug)
        domain = _furnish(workspace)
        spec = normalise(admin_address or f"admin@{workspace.subdomain}")
        is_first = not Member.objects.exists()
        user, made_password = _login_for(spec, password)
        member = _join(
            workspace,
            user,
            spec,
            name=admin_name,
            role=Role.OPERATOR if is_first else Role.ADMIN,
            language=language,
        )
        _open_own_conversation(workspace, domain, member)
        planning.ensure([workspace])
    return Founded(workspace, member, made_password)


def _open_workspace(*, name: str, slug: str) -> Workspace:
    workspace = Workspace(name=name.strip() or slug, slug=slug, plan=settings.POSTROOM_DEFAULT_PLAN)
    try:
        workspace.full_clean(validate_unique=False)
        normalise(f"admin@{workspace.subdomain}")
    except (ValidationError, AddressError) as error:
        raise RequestRefused(
            _("A short name has 1 to 40 letters a-z, digits and hyphens, with no hyphen at either end.")
        ) from error
    if (
        Workspace.objects.filter(slug=slug).exists()
        or MailDomain.objects.filter(domain=workspace.subdomain).exists()
    ):
        raise RequestRefused(
            _("There is already a workspace %(slug)s. Choose another short name.") % {"slug": slug}
        )
    workspace.save()
    return workspace


def _furnish(workspace: Workspace) -> MailDomain:
    Subtype.objects.bulk_create(
        [
            Subtype(workspace=workspace, key="discussions", name="Discussions", is_default=True, sequence=0),
            Subtype(workspace=workspace, key="activities", name="Activities", is_internal=True, sequence=90),
            Subtype(workspace=workspace, key="note", name="Note", is_internal=True, sequence=100),
        ]
    )
    return MailDomain.objects.create(workspace=workspace, domain=workspace.subdomain, is_default=True)


def _login_for(addr_spec: str, password: str | None) -> tuple[User, str | None]:
    """The user with this address and the password made for them, if one was made."""
    user = logins.user_of(addr_spec)
    if user is not None:
        return user, None
    made = None if password else secrets.token_urlsafe(12)
    return logins.make_user(addr_spec, password or made), made


def _join(workspace: Workspace, user: User, addr_spec: str, *, name: str, role: str, language: str) -> Member:
    member = Member.objects.create(
        workspace=workspace,
        user=user,
        role=role,
        language=language,
        has_placeholder_address=is_placeholder(addr_spec, workspace),
    )
    contact = _free_contact(workspace, addr_spec) or Contact(
        workspace=workspace, address=Address.of(workspace, addr_spec)
    )
    contact.member, contact.language, contact.is_active = member, language, True
    contact.name = name[:200] or contact.name or addr_spec.partition("@")[0].capitalize()
    contact.save()
    member.contact = contact
    return member


def _free_contact(workspace: Workspace, addr_spec: str) -> Contact | None:
    """Somebody who was written to before they became a member keeps their history."""
    found = Contact.objects.filter(workspace=workspace, address__addr_spec=addr_spec, member=None)
    return found.order_by("-is_active", "pk").first()


def _open_own_conversation(workspace: Workspace, domain: MailDomain, member: Member) -> Record:
    record, _is_new = recording.put_record(
        workspace, WORKSPACE_MODEL, workspace.slug, title=workspace.name, responsible=member, by=member
    )
    Alias.objects.create(
        workspace=workspace,
        mail_domain=domain,
        local_part="admin",
        model=WORKSPACE_MODEL,
        forced_record=record,
    )
    return record


def own_conversation(workspace: Workspace) -> Record:
    """The record where mail to the workspace itself lands (admin@, postmaster@, abuse@)."""
    return Record.objects.get(workspace=workspace, model=WORKSPACE_MODEL)


def invite(
    by: Member, *, address: str, name: str = "", role: str = Role.MEMBER, language: str = "en"
) -> tuple[Member, str]:
    """Let a person in; the link sets their password and needs no mail.

    A person who already has a login here gets the login page as the link: whoever holds a link that sets
    a password could otherwise enter the other workspaces of that person. Raises RequestRefused if `by` may
    not do this or the person is a member already, AddressError for an address that is none.
    """
    _refuse_unless_may_give(by, role)
    spec = normalise(address)
    with transaction.atomic():
        user = logins.user_of(spec)
        is_known = user is not None
        if user is None:
            user = logins.make_user(spec, None)
        elif Member.objects.filter(workspace=by.workspace, user=user).exists():
            raise RequestRefused(_("%(address)s is a member of this workspace already.") % {"address": spec})
        member = _join(by.workspace, user, spec, name=name, role=role, language=language)
        events.note(
            events.EventKind.INVITED, workspace=by.workspace, contact=member.contact, member=by, role=role
        )
    return member, logins.login_url() if is_known else logins.password_link(user)


def _refuse_unless_may_give(by: Member, role: str) -> None:
    if role not in Role.values:
        raise RequestRefused(_("There is no role %(role)s.") % {"role": role})
    if not by.is_admin or (role == Role.OPERATOR and not by.is_operator):
        raise RequestRefused(
            _("Only an administrator may let people in, and only an operator another operator.")
        )


def reset_link(member: Member, *, is_asked_by_operator: bool = False) -> str:
    """A link with which a member who lost the password sets a new one.

    Raises RequestRefused if the person is an operator or belongs to several workspaces, unless an operator
    of the installation asks: whoever holds the link becomes that person, in all of them.
    """
    if not is_asked_by_operator:
        _refuse_to_open_more(member)
    return logins.password_link(member.user)


def _refuse_to_open_more(member: Member) -> None:
    """Raise RequestRefused if a login opens more than an administrator of this one workspace may do."""
    if member.user.memberships.filter(role=Role.OPERATOR).exists():
        raise RequestRefused(
            _("This person operates the installation. Only an operator gets a link to their new password.")
        )
    if member.user.memberships.exclude(pk=member.pk).exists():
        raise RequestRefused(
            _("This person belongs to another workspace too. They set a new password on the login page.")
        )


def change_preferences(
    member: Member,
    *,
    address: str | None = None,
    name: str | None = None,
    language: str | None = None,
    channel: str | None = None,
    is_developer: bool | None = None,
) -> Member:
    """Change what a member chose for themselves; None leaves a choice as it is.

    A new address is the new login too, and takes the place of a placeholder. Raises RequestRefused for
    an address that somebody else logs in with, AddressError for one that is none.
    """
    chosen = {"language": language, "channel": channel, "is_developer": is_developer}
    with transaction.atomic():
        for field, value in chosen.items():
            if value is not None:
                setattr(member, field, value)
        contact = Contact.objects.select_for_update().get(member=member)
        if address is not None:
            _move_to(member, contact, normalise(address))
        contact.language = member.language
        contact.name = contact.name if name is None else name[:200]
        member.save()
        contact.save()
    return member


def _move_to(member: Member, contact: Contact, addr_spec: str) -> None:
    other = logins.user_of(addr_spec)
    if other is not None and other.pk != member.user_id:
        raise RequestRefused(
            _("Somebody else logs in with %(address)s. Choose another address.") % {"address": addr_spec}
        )
    if addr_spec != member.user.email and _is_anothers(member, addr_spec):
        raise RequestRefused(
            _("%(address)s belongs to another workspace or to another member. Choose another address.")
            % {"address": addr_spec}
        )
    logins.change_login(member.user, addr_spec)
    contact.address = Address.of(member.workspace, addr_spec)
    member.has_placeholder_address = is_placeholder(addr_spec, member.workspace)


def _is_anothers(member: Member, addr_spec: str) -> bool:
    """Is it what other people are known by: an address of one of them, or on a domain of their workspace?"""
    own = member.user.memberships.values("workspace")
    domain = addr_spec.rpartition("@")[2]
    people = Contact.objects.filter(address__addr_spec=addr_spec).exclude(member=None)
    return (
        MailDomain.objects.filter(domain=domain).exclude(workspace__in=own).exists()
        or people.exclude(member__user=member.user_id).exists()
    )


def deactivate(member: Member, *, by: Member) -> None:
    """Let a member in no more and tell them nothing more. What they wrote stays.

    Raises RequestRefused if `by` may not, or if nobody would be left to administer the workspace.
    """
    refuse_strangers(by.workspace_id, [member])
    if not by.is_admin or (member.is_operator and not by.is_operator):
        raise RequestRefused(_("Only an administrator may do this, and only an operator to an operator."))
    with transaction.atomic():
        Member.objects.filter(pk=member.pk).update(is_active=False)
        admins = Member.objects.active().filter(workspace=by.workspace, role__in=[Role.ADMIN, Role.OPERATOR])
        if not admins.exists():
            raise RequestRefused(
                _("Somebody has to administer the workspace. Make another administrator first.")
            )
        Contact.objects.filter(member=member).update(is_active=False)
        events.note(events.EventKind.DEACTIVATED, workspace=by.workspace, contact=member.contact, member=by)
    member.is_active = False
