"""Who answers for a workspace when nobody is named."""

from postroom.workspaces.models import Member, Role, Workspace


def administrator_of(workspace: Workspace) -> Member | None:
    """The first active operator, else the first active administrator, else None."""
    active = Member.objects.active().filter(workspace=workspace).order_by("pk")
    for role in (Role.OPERATOR, Role.ADMIN):
        member = active.filter(role=role).select_related("user", "workspace").first()
        if member is not None:
            return member
    return None
