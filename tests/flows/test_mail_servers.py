"""Outgoing servers are set up, changed, archived and brought back."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import connection, connections, transaction
from django.utils import timezone

from postroom.diagnostics.models import Event
from postroom.flows.mail_servers import archive, delete, put_server, unarchive, used_by
from postroom.flows.posting import Draft, PostRefused, post, submit
from postroom.flows.retrying import retry
from postroom.outgoing import relays
from postroom.outgoing.models import Email, Lane, MailServer, Tally
from postroom.outgoing.relays import lane_of, relay_of, shared_server
from postroom.smtp.relay import Security
from postroom.workspaces.models import Member, Role
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.outgoing.queued import queue
from tests.people import Cast, cast, join

pytestmark = pytest.mark.django_db


def server(**fields: Any) -> MailServer:
    return MailServer(**{"name": "Acme", "host": "smtp.acme.example", "port": 0, **fields})


def put(people: Cast, **fields: Any) -> MailServer:
    return put_server(server(**fields), by=people.olga)


def pems(key: Any = None) -> tuple[str, str]:
    """A certificate and its private key."""
    own = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(own, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    shown = (key or own).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate, shown.decode()


@pytest.mark.parametrize(("encryption", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
def test_the_port_is_the_usual_one_unless_it_is_given(people: Cast, encryption: str, port: int) -> None:
    assert put(people, encryption=encryption).port == port
    assert put(people, name="Other", encryption=encryption, port=2525).port == 2525


def test_what_is_stored_is_how_the_server_is_reached(people: Cast) -> None:
    stored = put(
        people, host=" SMTP.Acme.example. ", user="ana", password="s3cret", from_filter="Acme.example"
    )
    assert (stored.host, stored.from_filter) == ("smtp.acme.example", "acme.example")
    relay = relay_of(MailServer.objects.get(pk=stored.pk))
    assert relay is not None
    assert (relay.host, relay.port, relay.security) == ("smtp.acme.example", 587, Security.STARTTLS)
    assert (relay.user, relay.password, relay.verify_certificate) == ("ana", "s3cret", True)


def test_secrets_are_sealed_and_no_event_repeats_them(people: Cast) -> None:
    stored = put(people, user="ana", password="s3cret-word")
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM postroom_mailserver WHERE id = %s", [stored.pk])
        assert "s3cret-word" not in cursor.fetchone()[0]
    event = Event.objects.get(kind="server.added")
    assert (event.member, event.detail) == (people.olga, {"server": "Acme", "host": "smtp.acme.example"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 81}, "80"),
        ({"host": ""}, "host"),
        ({"host": "smtp://acme.example"}, "host"),
        ({"host": "acme.example:25"}, "host"),
        ({"host": "acme example"}, "host"),
        ({"host": "10.0.0"}, "host"),
        ({"port": 70000}, "65535"),
        ({"encryption": "ssl"}, "none, starttls, tls"),
        ({"authentication": "cram"}, "login, certificate, xoauth2"),
        ({"from_filter": "acme.example, not a domain"}, "“not”"),
        ({"connection_limit": 0}, "connections"),
        ({"limit_per_minute": 0}, "per minute"),
        ({"limit_per_hour": -1}, "per hour"),
        ({"limit_per_day": 0}, "per day"),
        ({"max_size_megabytes": 0}, "MB"),
        ({"priority": -1}, "priority"),
        ({"password": "x"}, "username"),
        ({"user": "ana\r\nRSET", "password": "x"}, "one line"),
        ({"authentication": "certificate"}, "PEM"),
        ({"authentication": "certificate", "encryption": "none"}, "over TLS only"),
        ({"authentication": "xoauth2", "user": "ana"}, "access"),
        ({"authentication": "xoauth2", "user": "ana", "oauth": "[]"}, "JSON object"),
        ({"transport": "esp", "esp": "postmark"}, "server_token"),
        ({"transport": "esp", "esp": "pigeon"}, "amazon_ses"),
        ({"transport": "esp", "esp": "postmark", "esp_options": "[]"}, "JSON object"),
        ({"transport": "esp", "esp": "brevo", "esp_options": '{"api_key": "a\\r\\nb"}'}, "Copy it anew"),
        ({"transport": "esp", "esp": "brevo", "esp_options": '{"api_key": "a", "x": "y"}'}, "no option x"),
        ({"transport": "esp", "esp": "postal", "esp_options": '{"api_key": "a"}'}, "only an operator"),
        (
            {"transport": "esp", "esp": "mailgun", "esp_options": '{"api_key": "a", "region": "moon"}'},
            "one of us, eu",
        ),
        ({"host": "127.0.0.1", "port": 2525}, "Postroom itself"),
        ({"host": "localhost", "port": 2525}, "Postroom itself"),
        ({"host": "demo.postroom.localhost", "port": 25}, "Postroom itself"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(people: Cast, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestRefused, match=words):
        put(people, **fields)
    assert not MailServer.objects.filter(workspace=people.workspace).exists()


@pytest.mark.parametrize(
    "host", ["2001:db8::1", "[2001:DB8::1]", "192.0.2.7", "relay", "xn--bcher-kva.example"]
)
def test_a_host_is_a_name_or_a_number(people: Cast, host: str) -> None:
    assert put(people, host=host).host == host.strip("[]").lower()


def test_a_certificate_comes_with_its_own_key(people: Cast) -> None:
    certificate, key = pems()
    fields = {"authentication": "certificate", "client_certificate": certificate}
    assert put(people, **fields, client_key=key).pk
    other = pems(ec.generate_private_key(ec.SECP256R1()))[1]
    with pytest.raises(RequestRefused, match="not that of the certificate"):
        put(people, **fields, name="Other", client_key=other)


def test_only_administrators_set_up_servers_but_each_member_their_own(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="administrator"):
        put_server(server(), by=people.ana)
    assert put_server(server(owner=people.ana), by=people.ana).owner == people.ana
    with pytest.raises(RequestRefused, match="administrator"):
        put_server(server(name="Olga's", owner=people.olga), by=people.ana)
    assert put_server(server(name="Olga's", owner=people.olga), by=people.olga).pk


def test_nobody_touches_a_server_of_another_workspace(people: Cast) -> None:
    stored, stranger = put(people), cast("next").olga
    for attempt in (put_server, archive, unarchive, delete):
        with pytest.raises(RequestRefused):
            attempt(stored, by=stranger)
    with pytest.raises(AcrossTheWall):
        put(people, name="Other", owner=stranger)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {"name": "ACME"}, "another name"),
        (
            {"is_for_campaigns": True},
            {"name": "B", "is_for_campaigns": True},
            "already the server for campaigns",
        ),
    ],
)
def test_what_is_there_once_is_not_there_twice(
    people: Cast, first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    before = put(people, **first)
    with pytest.raises(RequestRefused, match=words):
        put(people, **second)
    put_server(change(before, is_for_campaigns=False), by=people.olga)
    archive(before, by=people.olga)
    put(people, **second)
    before.is_for_campaigns = bool(first)
    MailServer.objects.filter(pk=before.pk).update(is_for_campaigns=bool(first))
    with pytest.raises(RequestRefused, match=words):
        unarchive(before, by=people.olga)


def change(row: MailServer, **fields: Any) -> MailServer:
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def test_a_member_has_one_personal_server(people: Cast) -> None:
    put_server(server(owner=people.ana), by=people.ana)
    with pytest.raises(RequestRefused, match="already has a personal server"):
        put_server(server(name="Second", owner=people.ana), by=people.ana)


def test_the_credentials_of_one_person_never_become_everybodys(people: Cast) -> None:
    mine = put_server(server(owner=people.ana), by=people.ana)
    with pytest.raises(RequestRefused, match="keeps its owner"):
        put_server(change(mine, owner=None), by=people.olga)
    with pytest.raises(RequestRefused, match="no campaigns"):
        put_server(change(mine, owner=people.ana, is_for_campaigns=True), by=people.ana)


@pytest.mark.parametrize("named", ["next.postroom.localhost", "gmail.example, olga@next.postroom.localhost"])
@pytest.mark.parametrize("is_personal", [True, False])
def test_no_filter_names_a_mail_domain_of_another_workspace(
    people: Cast, named: str, is_personal: bool
) -> None:
    fields = {"from_filter": named, "owner": people.olga if is_personal else None}
    stored = put(people, **fields)
    cast("next")
    for attempt in (server(name="Second", from_filter=named), change(stored, host="h2.example")):
        with pytest.raises(RequestRefused, match=r"next\.postroom\.localhost is a mail domain of another"):
            put_server(attempt, by=people.olga)


def test_nobody_leads_the_password_of_another_to_a_host_of_theirs(people: Cast) -> None:
    put_server(server(owner=people.ana, user="ana", password="s3cret"), by=people.ana)
    seen = MailServer.objects.defer("password").get(owner=people.ana)
    with pytest.raises(RequestRefused, match=r"Only .* may change how their personal server is reached"):
        put_server(change(seen, host="evil.example"), by=people.olga)
    again = MailServer.objects.defer("password").get(owner=people.ana)
    put_server(change(again, limit_per_minute=30), by=people.olga)
    now = MailServer.objects.get(owner=people.ana)
    assert (now.host, now.password, now.limit_per_minute) == ("smtp.acme.example", "s3cret", 30)


def seen_of(stored: MailServer) -> MailServer:
    """As the pages, the API and the command line read it: without its secrets."""
    return MailServer.objects.defer("password", "client_key", "oauth").get(pk=stored.pk)


@pytest.mark.parametrize(
    "elsewhere",
    [{"host": "evil.example"}, {"port": 26}, {"encryption": "none"}, {"is_certificate_checked": False}],
)
def test_a_stored_password_goes_nowhere_but_where_it_was_entered_for(
    people: Cast, elsewhere: dict[str, Any]
) -> None:
    stored = put(people, user="ana", password="s3cret")
    with pytest.raises(RequestRefused, match=r"enter what is stored as a secret anew: Password\."):
        put_server(change(seen_of(stored), **elsewhere), by=people.olga)
    assert MailServer.objects.get(pk=stored.pk).host == "smtp.acme.example"
    put_server(change(seen_of(stored), **elsewhere, password="s3cret"), by=people.olga)
    assert MailServer.objects.get(pk=stored.pk).password == "s3cret"


def test_the_owner_of_a_personal_server_enters_the_password_anew_too(people: Cast) -> None:
    stored = put_server(server(owner=people.ana, user="ana", password="s3cret"), by=people.ana)
    with pytest.raises(RequestRefused, match="anew: Password"):
        put_server(change(seen_of(stored), host="evil.example"), by=people.ana)


def test_a_secret_that_is_not_used_any_more_goes_when_the_way_changes(people: Cast) -> None:
    certificate, key = pems()
    fields = {"authentication": "certificate", "client_certificate": certificate, "client_key": key}
    stored = put(people, **fields)
    put_server(change(seen_of(stored), authentication="login", host="other.example"), by=people.olga)
    now = MailServer.objects.get(pk=stored.pk)
    assert (now.host, now.client_key) == ("other.example", "")


@pytest.mark.parametrize("host", ["10.0.0.5", "169.254.169.254", "0x0a.1", "::ffff:10.0.0.1"])
def test_nobody_enters_a_server_of_our_own_network(people: Cast, host: str) -> None:
    with pytest.raises(RequestRefused, match=r"private network.*POSTROOM_PRIVATE_NETWORKS"):
        put_server(server(owner=people.ana, host=host), by=people.ana)


@pytest.mark.parametrize("host", ["0x7f.1", "0x7f000001", "::ffff:127.0.0.1"])
def test_our_own_listener_is_known_however_it_is_written(people: Cast, host: str) -> None:
    with pytest.raises(RequestRefused, match="Postroom itself"):
        put(people, host=host, port=2525)


@pytest.mark.parametrize(
    "token_url",
    ["http://login.example/token", "https://10.0.0.1/token", "https://0x0a.1/t", "ftp://a.example/t"],
)
def test_a_token_address_is_in_the_open_internet_and_encrypted(people: Cast, token_url: str) -> None:
    access = json.dumps({"token_url": token_url, "client_id": "c", "refresh_token": "r"})
    with pytest.raises(RequestRefused, match="begins with https://"):
        put(people, authentication="xoauth2", user="ana", oauth=access)


def test_a_change_lets_what_waits_be_tried_at_once(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = put(people)
    held = lane_of(people.workspace, "urgent", stored)
    until = timezone.now() + datetime.timedelta(hours=1)
    Lane.objects.filter(pk=held.pk).update(held_until=until, held_because="server_unreachable")
    MailServer.objects.filter(pk=stored.pk).update(failure_count=3, last_failure="connection refused")
    put_server(change(stored, host="smtp2.acme.example"), by=people.olga)
    held.refresh_from_db()
    assert (held.held_until, held.held_because) == (None, "")
    assert MailServer.objects.get(pk=stored.pk).host == "smtp2.acme.example"


def test_a_secret_that_was_not_read_stays_what_it_was(people: Cast) -> None:
    stored = put(people, user="ana", password="s3cret")
    seen = MailServer.objects.defer("password", "client_key").get(pk=stored.pk)
    put_server(change(seen, priority=3), by=people.olga)
    now = MailServer.objects.get(pk=stored.pk)
    assert (now.priority, now.password) == (3, "s3cret")


def test_operators_set_the_limits_of_the_shared_relay_and_nothing_else(people: Cast) -> None:
    shared = shared_server()
    put_server(change(shared, limit_per_minute=30, connection_limit=2), by=people.olga)
    now = shared_server()
    assert (now.limit_per_minute, now.connection_limit, now.host) == (30, 2, "")
    with pytest.raises(RequestRefused, match="only its limits"):
        put_server(change(shared_server(), host="evil.example"), by=people.olga)
    with pytest.raises(RequestRefused, match="connections"):
        put_server(change(now, connection_limit=0), by=people.olga)
    admin = join(people.workspace, "adam@demo.example", "Adam", Role.ADMIN)
    with pytest.raises(RequestRefused, match="operator"):
        put_server(shared_server(), by=admin)
    with pytest.raises(RequestRefused, match="RELAY_URL"):
        archive(shared_server(), by=people.olga)


Prepare = Callable[[Cast, MailServer], object]


def make_wait(people: Cast, row: MailServer) -> object:
    emails = queue(people.workspace, ["ben@example.org"])
    return Email.objects.filter(pk=emails[0].pk).update(lane=lane_of(people.workspace, "urgent", row))


def make_stand_in(people: Cast, row: MailServer) -> object:
    email = queue(people.workspace, ["ben@example.org"])[0]
    return Lane.objects.filter(pk=email.lane_id).update(via=row)


def mark_for_campaigns(people: Cast, row: MailServer) -> object:
    put_server(change(row, is_for_campaigns=True), by=people.olga)
    return row


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (make_wait, "1 email waits for it"),
        (make_stand_in, "It stands in for relay"),
        (mark_for_campaigns, "server for campaigns"),
    ],
)
def test_a_server_in_use_is_not_archived_and_says_by_what(people: Cast, prepare: Prepare, words: str) -> None:
    row = put(people)
    assert used_by(row) == []
    prepare(people, row)
    assert [words in use for use in used_by(row)] == [True]
    with pytest.raises(RequestRefused, match=f"Acme cannot be archived.*{words}"):
        archive(row, by=people.olga)
    assert MailServer.objects.get(pk=row.pk).is_active


def test_an_archived_server_stands_in_for_nobody_any_more(people: Cast) -> None:
    """What is posted next to the one that it stood in for does not end with it."""
    row = put(people)
    make_stand_in(people, row)
    Email.objects.update(state="sent")
    archive(row, by=people.olga)
    assert not Lane.objects.filter(via=row).exists()


def _archived_meanwhile(monkeypatch: pytest.MonkeyPatch, people: Cast, row: MailServer) -> None:
    """Somebody archives it between the choice of the server and the Emails."""
    real = relays.stays_in_use

    def asked(chosen: MailServer) -> bool:
        if MailServer.objects.get(pk=row.pk).is_active:
            archive(MailServer.objects.get(pk=row.pk), by=people.olga)
        return real(chosen)

    monkeypatch.setattr(relays, "stays_in_use", asked)


def test_a_server_that_is_archived_while_something_is_posted_does_not_get_it(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another is chosen; and where this one was named, nothing is posted."""
    row = put(people, from_filter="demo.example")
    said = Draft(workspace=people.workspace, record=people.record, author=people.ana_contact, text="Hello.")
    _archived_meanwhile(monkeypatch, people, row)
    post(said)
    unarchive(row, by=people.olga)
    raw = b"From: ana@demo.example\r\nSubject: Hello\r\n\r\nHello.\r\n"
    submit(people.workspace, raw, reverse_path="", forward_paths=["ben@example.org"], member=people.ana)
    assert {email.lane.server for email in Email.objects.all()} == {shared_server()}
    unarchive(row, by=people.olga)
    with pytest.raises(PostRefused, match="is archived"):
        post(replace(said, server=MailServer.objects.get(pk=row.pk)))
    with pytest.raises(PostRefused, match="is archived"):
        post(replace(said, server=row))


def test_what_is_sent_again_does_not_end_on_a_server_that_is_archived_meanwhile(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in Delivery Failed, and can be sent again another way."""
    row = put(people, from_filter="demo.example")
    post(Draft(workspace=people.workspace, record=people.record, author=people.ana_contact, text="Hello."))
    Email.objects.update(state="failed", failure_kind="refused")
    Tally.objects.update(outgoing_count=0, failed_count=1)
    _archived_meanwhile(monkeypatch, people, row)
    with pytest.raises(RequestRefused, match="is archived"):
        retry(Email.objects.all(), people.olga)
    assert Email.objects.get().state == "failed"


@pytest.mark.django_db(transaction=True)
def test_archiving_waits_for_what_is_being_posted_and_then_sees_it(data_folder: Path) -> None:
    """Two requests at the same time: either the mail is seen, or the archived server."""
    people = cast()
    row, is_posting = put(people), threading.Event()
    email = queue(people.workspace, ["ben@example.org"])[0]

    def posting() -> None:
        with transaction.atomic():
            assert relays.stays_in_use(MailServer.objects.get(pk=row.pk))
            is_posting.set()
            time.sleep(0.4)
            Email.objects.filter(pk=email.pk).update(lane=lane_of(people.workspace, "urgent", row))
        connections.close_all()

    with ThreadPoolExecutor() as threads:
        posted = threads.submit(posting)
        is_posting.wait(5)
        with pytest.raises(RequestRefused, match="1 email waits"):
            archive(MailServer.objects.get(pk=row.pk), by=people.olga)
        posted.result()


def test_a_personal_server_is_archived_by_its_owner_or_once_they_left(people: Cast) -> None:
    mine = put_server(server(owner=people.ana), by=people.ana)
    with pytest.raises(RequestRefused, match="personal server of"):
        archive(mine, by=people.olga)
    archive(mine, by=people.ana)
    unarchive(mine, by=people.ana)
    Member.objects.filter(pk=people.ana.pk).update(is_active=False)
    archive(MailServer.objects.get(pk=mine.pk), by=people.olga)
    assert not MailServer.objects.get(pk=mine.pk).is_active


def test_archiving_twice_is_noted_once(people: Cast) -> None:
    row = put(people)
    archive(row, by=people.olga)
    archive(row, by=people.olga)
    assert Event.objects.filter(kind="server.archived").count() == 1


def test_only_a_server_that_was_never_used_can_be_deleted(people: Cast) -> None:
    row = put(people)
    delete(row, by=people.olga)
    assert not MailServer.objects.filter(workspace=people.workspace).exists()
    used = put(people)
    make_wait(people, used)
    with pytest.raises(RequestRefused, match="Archive it instead"):
        delete(used, by=people.olga)
    with pytest.raises(RequestRefused, match="Archive it instead"):
        delete(shared_server(), by=people.olga)


@pytest.mark.parametrize(
    "field", ["name", "host", "user", "password", "client_certificate", "client_key", "oauth", "from_filter"]
)
@pytest.mark.parametrize("text", ["x\0", "x\x1b[31m", "x\x7f"])
def test_no_field_takes_a_control_character(people: Cast, field: str, text: str) -> None:
    """They end in tables, on terminals and in logs."""
    with pytest.raises(RequestRefused):
        put(people, **{field: text})
    assert not MailServer.objects.filter(workspace=people.workspace).exists()
