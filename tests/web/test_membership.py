"""Who gets in, and how far."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from postroom.conversations.models import Alias, Attachment, ScheduledMessage
from postroom.flows import signing_keys
from postroom.flows.arranging import put_alias
from postroom.incoming.models import ReceivedEmail
from postroom.schedule.models import ScheduledAction
from postroom.web.urls import urlpatterns
from postroom.workspaces.models import ApiKey, DkimKey, Member, Role
from tests.flows.servers import server_at
from tests.people import Cast, join
from tests.web.conftest import Browse
from tests.web.mail import said

PROBES = {"livez", "readyz", "healthz", "health", "metrics"}  # the last has its own rule and tests
OPEN = {*PROBES, "linked_file", "one_click"}  # what is behind the last two is in a signed token


def _pages() -> list[URLPattern]:
    patterns = [pattern for pattern in urlpatterns if isinstance(pattern, URLPattern)]
    return [pattern for pattern in patterns if not str(pattern.name).startswith("account_")]


def _numbers_of(people: Cast) -> dict[str, dict[str, int]]:
    """The ids of one workspace, by the name of the page that shows them."""
    message = said(people)
    attachment = Attachment.objects.create(
        workspace=people.workspace,
        message=message,
        name="a.txt",
        content_type="text/plain",
        size=1,
        digest="0" * 64,
    )
    alias = Alias.objects.get(workspace=people.workspace, local_part="admin")
    key, _text = ApiKey.make(people.olga, "shop")
    mail = ReceivedEmail.objects.create(workspace=people.workspace, source="smtp", state="refused")
    record, contact = {"pk": people.record.pk}, {"pk": people.record.pk, "contact_pk": people.ben.pk}
    ids = {name: {"pk": message.pk} for name in ("delivery", "delivery_icon", "send_and_close", "ignore_all")}
    ids |= dict.fromkeys(("record", "post_message", "preview_message", "add_follower", "unfollow"), record)
    ids |= dict.fromkeys(("remove_follower", "choose_subtypes"), contact)
    ids |= {name: {"pk": alias.pk} for name in ("alias", "remove_alias")}
    ids |= {name: {"pk": people.ana.pk} for name in ("reset_link", "deactivate")}
    ids |= {"attachment": {"pk": attachment.pk}, "received": {"pk": mail.pk}, "revoke_key": {"pk": key.pk}}
    later = ScheduledMessage.objects.create(
        workspace=people.workspace,
        record=people.record,
        member=people.ana,
        author=people.ana_contact,
        text="Hello",
        subtype_key="discussions",
        post_at=timezone.now() + timedelta(days=1),
    )
    names = ("scheduled", "move_scheduled", "post_scheduled", "cancel_scheduled", "undo", "discard_scheduled")
    ids |= {name: {"pk": later.pk} for name in names}
    ids |= {name: {"pk": message.pk} for name in ("move_emails", "send_emails_now", "call_off_emails")}
    dkim = signing_keys.make(people.domain, DkimKey.Algorithm.ED25519, by=people.olga)
    signing = {"pk": people.domain.pk, "key_pk": dkim.pk}
    ids |= dict.fromkeys(("activate_dkim", "revoke_dkim"), signing)
    server = server_at(people, 25)
    ids |= {
        name: {"pk": server.pk}
        for name in ("server", "test_server", "archive_server", "unarchive_server", "remove_server")
    }
    action = ScheduledAction.objects.get(workspace=people.workspace, key="mail_queue")
    ids |= {name: {"pk": action.pk} for name in ("action", "run_action")}
    return ids | {name: {"pk": people.domain.pk} for name in ("domain", "check_domain", "make_dkim")}


def test_every_page_sends_a_stranger_to_the_login(people: Cast, client: Client) -> None:
    """Walks the urlconf."""
    numbers: dict[str, dict[str, Any]] = {
        **_numbers_of(people),
        "target_mail": {"mail_id": "1"},
        "target_mail_html": {"mail_id": "1"},
        **{name: {"slug": "demo"} for name in ("operator_workspace", "operator_decide")},
    }
    for page in _pages():
        if page.name in OPEN:
            continue
        path = reverse(str(page.name), kwargs=numbers.get(str(page.name), {}))
        answers = [client.get(path), client.post(path)]
        assert all(answer.status_code in (302, 405) for answer in answers), page.name
        assert any("/accounts/login/" in answer.headers.get("Location", "") for answer in answers), page.name


def test_whatever_belongs_to_a_neighbour_does_not_exist(neighbours: Cast, as_olga: Client) -> None:
    """Walks the urlconf: every page with an id, asked for an id of the other workspace."""
    theirs = _numbers_of(neighbours)
    with_id = [page for page in _pages() if "<int:" in str(page.pattern)]
    assert len(with_id) > 15
    for page in with_id:
        path = reverse(str(page.name), kwargs=theirs[str(page.name)])
        answers = {as_olga.get(path).status_code, as_olga.post(path, {"ids": "1"}).status_code}
        assert 404 in answers, page.name
        assert answers <= {404, 405}, page.name


def test_a_neighbours_contact_cannot_be_made_to_follow(
    people: Cast, neighbours: Cast, as_olga: Client
) -> None:
    """The record is ours, the contact is not."""
    path = reverse("choose_subtypes", args=[people.record.pk, neighbours.ben.pk])
    assert as_olga.post(path).status_code == 404


def test_emails_of_a_neighbour_are_not_retried(neighbours: Cast, as_olga: Client) -> None:
    """Ids in a form are no way around the wall."""
    email = said(neighbours).emails.get()
    for name in ("emails_retry", "emails_send_now", "emails_cancel"):
        as_olga.post(reverse(name), {"ids": [email.pk]})
    before = email.state
    email.refresh_from_db()
    assert email.state == before


def test_an_alias_never_leads_over_the_wall(people: Cast, neighbours: Cast, as_olga: Client) -> None:
    """Neither to a record nor with a domain of another workspace."""
    fields = {"local_part": "x", "mail_domain": neighbours.domain.pk, "model": "a", "policy": "everyone"}
    as_olga.post(reverse("new_alias"), fields)
    forced = {**fields, "mail_domain": people.domain.pk, "forced": neighbours.record.pk}
    as_olga.post(reverse("new_alias"), forced)
    assert not Alias.objects.filter(local_part="x").exists()


@pytest.mark.parametrize(
    "name", ["settings", "domains", "aliases", "new_alias", "members", "keys", "capture"]
)
def test_settings_do_not_exist_for_ordinary_members(as_ana: Client, name: str) -> None:
    """404, so that nobody learns what there would be."""
    assert as_ana.get(reverse(name)).status_code == 404


def test_the_target_is_for_operators(people: Cast, as_ana: Client) -> None:
    """It holds the mail of all workspaces."""
    assert as_ana.get(reverse("target")).status_code == 404


def test_somebody_with_two_workspaces_chooses_one(people: Cast, neighbours: Cast, browse: Browse) -> None:
    """And then sees only that one."""
    Member.objects.create(workspace=neighbours.workspace, user=people.ana.user, role=Role.MEMBER)
    ana = browse(people.ana)
    assert ana.get("/records").headers["Location"] == reverse("workspaces")
    ana.post(reverse("workspaces"), {"workspace": neighbours.workspace.pk})
    assert ana.get(reverse("record", args=[neighbours.record.pk])).status_code == 200
    assert ana.get(reverse("record", args=[people.record.pk])).status_code == 404


def test_nobody_chooses_a_workspace_they_do_not_belong_to(
    people: Cast, neighbours: Cast, browse: Browse
) -> None:
    """Whatever the form says."""
    third = join(neighbours.workspace, "third@neighbour.example", "Third")
    Member.objects.create(workspace=people.workspace, user=third.user)
    asked = browse(third)
    asked.post(reverse("workspaces"), {"workspace": 999})
    assert asked.get("/records").headers["Location"] == reverse("workspaces")


def test_a_deactivated_member_sees_nothing_more(people: Cast, as_ana: Client) -> None:
    """The session that is open ends too."""
    Member.objects.filter(pk=people.ana.pk).update(is_active=False)
    assert as_ana.get("/records").headers["Location"] == reverse("workspaces")
    assert "You belong to no workspace" in as_ana.get(reverse("workspaces")).content.decode()


def test_pages_speak_the_members_language(people: Cast, as_ana: Client) -> None:
    """And say so in the lang attribute."""
    Member.objects.filter(pk=people.ana.pk).update(language="ro")
    page = as_ana.get("/").content.decode()
    assert '<html lang="ro">' in page
    assert "Preferințe" in page


def test_the_login_speaks_the_browsers_language(db: None, client: Client) -> None:
    """Before anybody is known, Accept-Language decides."""
    page = client.get(reverse("account_login"), headers={"accept-language": "es"}).content.decode()
    assert '<html lang="es">' in page


def test_an_alias_of_ours_is_kept(people: Cast) -> None:
    """The flow behind the form refuses members who are not administrators."""
    from postroom.workspaces.refusals import RequestRefused

    alias = Alias(mail_domain=people.domain, local_part="sales", model="crm.lead")
    with pytest.raises(RequestRefused):
        put_alias(alias, by=people.ana)
    assert put_alias(alias, by=people.olga).workspace == people.workspace
