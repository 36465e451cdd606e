"""The cast: who appears in the tests, always the same.

Ana sells and is told by email. Olga operates the installation and is told in Postroom. Ben follows the
order from outside. Carla has nothing to do with it yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroom.conversations.models import Contact, Record
from postroom.flows.founding import found_workspace
from postroom.flows.recording import contact_for, put_record
from postroom.workspaces import logins
from postroom.workspaces.models import Channel, MailDomain, Member, Plan, Role, Workspace

PASSWORD = "a password for the tests"  # nobody else's


@dataclass(frozen=True, slots=True)
class Cast:
    """One workspace and its people; `domain` is its default mail domain."""

    workspace: Workspace
    domain: MailDomain
    olga: Member
    ana: Member
    ben: Contact
    carla: Contact
    record: Record

    @property
    def ana_contact(self) -> Contact:
        """Ana as somebody who can be written to."""
        return Contact.objects.select_related("address").get(member=self.ana)

    @property
    def olga_contact(self) -> Contact:
        """Olga as somebody who can be written to."""
        return Contact.objects.select_related("address").get(member=self.olga)


def cast(slug: str = "demo") -> Cast:
    """A workspace whose sale.order/SO042 Ana and Ben follow; again with another slug makes a neighbour."""
    founded = found_workspace(
        name="Demo Company",
        slug=slug,
        admin_address=f"olga@{slug}.example",
        admin_name="Olga Ionescu",
        password=PASSWORD,
    )
    workspace, olga = founded.workspace, founded.member
    workspace.plan = Plan.UNLIMITED  # what is about limits sets one
    workspace.save(update_fields=["plan"])
    Member.objects.filter(pk=olga.pk).update(channel=Channel.POSTROOM)
    olga.refresh_from_db()
    ana = join(workspace, f"ana@{slug}.example", "Ana Pop")
    ben = contact_for(workspace, "ben@example.org", "Ben Ortiz")
    carla = contact_for(workspace, "carla@example.com", "Carla Stan")
    record, _ = put_record(
        workspace, "sale.order", "SO042", title="SO042 Desk lamps", responsible=ana, followers=[ben], by=ana
    )
    return Cast(
        workspace, MailDomain.objects.get(workspace=workspace, is_default=True), olga, ana, ben, carla, record
    )


def join(workspace: Workspace, address: str, name: str, role: str = Role.MEMBER) -> Member:
    """One more member, told by email, who logs in with PASSWORD."""
    user = logins.user_of(address) or logins.make_user(address, PASSWORD)
    member = Member.objects.create(workspace=workspace, user=user, role=role)
    contact = contact_for(workspace, address, name)
    contact.member = member
    contact.save()
    return member
