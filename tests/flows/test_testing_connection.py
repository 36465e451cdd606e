"""Test Connection: what an administrator is told about a server, and who may ask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from postroom.flows.probe_words import _WELL, _WORDS, words_and_remedy
from postroom.flows.testing_connection import Step, _named_by, is_good, test_connection, verdict
from postroom.outgoing import relays
from postroom.outgoing.models import MailServer
from postroom.smtp.probe import Cause, Probed, ProbeState, ProbeStep
from postroom.smtp.relay import Relay, Security
from postroom.wire.from_filter import FromFilter
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from tests.flows.servers import server_at
from tests.people import Cast
from tests.smtp.beside import beside
from tests.smtp.certificates import certificate, server_side
from tests.smtp.scripted import PATIENT, Act, Answers, ScriptedRelay

BRIEF = replace(PATIENT, connect=2, greeting=0.3, command=0.3, tls=2)
PASSWORD = "geheim-4711"


def tried(server: MailServer, by: Member | None) -> list[Step]:
    return test_connection(server, by=by, timeouts=BRIEF)


def failed(steps: list[Step]) -> Step:
    return next(step for step in steps if step.state == "failed")


def test_a_good_server_passes_and_the_verdict_promises_no_delivery(people: Cast) -> None:
    script = ScriptedRelay()
    with beside(script):
        steps = tried(server_at(people, script.port), people.olga)
    assert [(step.key, step.state) for step in steps if step.state != "skipped"] == [
        (key, "ok") for key in ("dns", "connect", "greeting", "mail", "rcpt")
    ]
    assert is_good(steps)
    assert "does not prove that mail arrives" in verdict(steps)
    assert script.contents == []


def test_a_test_connects_to_nothing_in_our_own_network(people: Cast, settings: Any) -> None:
    """It would tell whoever asks what answers there."""
    settings.POSTROOM_PRIVATE_NETWORKS = ""
    script = ScriptedRelay()
    with beside(script):
        [first, *rest] = tried(server_at(people, script.port), people.olga)
    assert (first.key, first.state, first.said) == ("dns", "failed", "")
    assert "POSTROOM_PRIVATE_NETWORKS" in first.remedy
    assert {step.state for step in rest} == {"skipped"}
    assert script.visits == []


@pytest.mark.parametrize(
    ("from_filter", "reverse_path"),
    [
        ("", "bounce@{domain}"),
        ("lamps.example", "noreply@lamps.example"),
        ("lamps.example, sales@lamps.example", "sales@lamps.example"),
    ],
)
def test_the_test_sends_from_what_the_filter_allows(
    people: Cast, from_filter: str, reverse_path: str
) -> None:
    script = ScriptedRelay()
    with beside(script):
        tried(server_at(people, script.port, from_filter=from_filter), people.olga)
    domain = people.domain.domain
    assert script.lines[1].decode() == f"MAIL FROM:<{reverse_path.format(domain=domain)}>"
    assert script.lines[2].decode() == f"RCPT TO:<noreply@{domain}>"


DOMAINS = st.from_regex(r"[a-z]{1,8}\.example", fullmatch=True)
ENTRIES = st.one_of(DOMAINS, st.builds("{}@{}".format, st.from_regex(r"[a-z]{1,8}", fullmatch=True), DOMAINS))


@given(st.lists(ENTRIES, min_size=1))
def test_whatever_a_filter_names_the_address_that_is_tested_is_one_it_accepts(entries: list[str]) -> None:
    named = FromFilter.parse(", ".join(entries))
    assert named.accepts_address(_named_by(named))


@pytest.mark.parametrize(
    ("answers", "key", "words", "remedy"),
    [
        ({"GREETING": Act.SILENCE}, "greeting", "no mail server greets us", "port 465"),
        ({"GREETING": b"HTTP/1.1 400 Bad\r\n"}, "greeting", "no mail server", "Correct the host name"),
        ({"GREETING": b"554 5.7.1 no\r\n"}, "greeting", "does not want to talk", "let it in"),
        ({"AUTH": b"535 5.7.8 bad\r\n"}, "auth", "username or the password", "Enter both anew"),
        ({"MAIL": b"553 5.7.1 no\r\n"}, "mail", "send from bounce@", "FROM Filtering"),
        ({"RCPT": b"554 5.7.1 Relay denied\r\n"}, "rcpt", "does not pass mail on", "username and password"),
        ({"RCPT": b"450 4.2.0 Greylisted\r\n"}, "rcpt", "greylisting", "tried again by itself"),
    ],
)
def test_a_failing_step_says_what_happened_and_what_to_do(
    people: Cast, answers: Answers, key: str, words: str, remedy: str
) -> None:
    script = ScriptedRelay({"AUTH": b"235 In\r\n", **answers}, offers=("AUTH PLAIN",))
    with beside(script):
        steps = tried(server_at(people, script.port, user="ana", password=PASSWORD), people.olga)
    step = failed(steps)
    assert step.key == key
    assert words in step.words
    assert remedy in step.remedy
    assert verdict(steps) == "The test failed. Nothing was sent."
    assert not is_good(steps)


def test_a_certificate_that_nobody_vouches_for_is_named_and_may_be_let_pass(
    people: Cast, tmp_path: Path
) -> None:
    script = ScriptedRelay(tls=server_side(certificate(tmp_path)), offers=("STARTTLS",))
    with beside(script):
        server = server_at(people, script.port, encryption="starttls")
        step = failed(tried(server, people.olga))
        server.is_certificate_checked = False
        unchecked = tried(server, people.olga)
    assert (step.key, "vouches" in step.words) == ("tls", True)
    warning = next(each for each in unchecked if each.key == "tls")
    assert warning.state == "warning"
    assert "CN=relay.example" in warning.words
    assert is_good(unchecked)


def test_port_25_that_does_not_answer_names_the_other_ports() -> None:
    found = Probed(ProbeStep.CONNECT, ProbeState.FAILED, Cause.TIMED_OUT)
    words, remedy = words_and_remedy(found, Relay(host="smtp.example", port=25), "a@b", "c@d")
    assert "25" in words
    assert all(port in remedy for port in ("465", "587", "2525"))


def test_a_tls_port_that_is_spoken_to_in_clear_is_told_apart() -> None:
    found = Probed(ProbeStep.GREETING, ProbeState.FAILED, Cause.TIMED_OUT)
    relay = Relay(host="smtp.example", port=465, security=Security.STARTTLS)
    assert words_and_remedy(found, relay, "a@b", "c@d")[1] == "Port 465 begins with TLS: choose SSL/TLS."


@pytest.mark.parametrize("cause", [each for each in Cause if each is not Cause.NONE])
def test_every_cause_has_words_and_every_failure_a_remedy(cause: Cause) -> None:
    found = [pair for (_, known), pair in _WORDS.items() if known is cause]
    assert found
    quiet = (Cause.NOT_REACHED, Cause.NOT_ASKED_FOR)
    assert all(str(words) for words, _ in found)
    assert cause in quiet or all(str(remedy) for _, remedy in found)


def test_what_the_words_name_is_known_where_they_are_said() -> None:
    """A placeholder that nobody fills would end in an error; the certificate is known at TLS only."""
    always = {"host", "port", "addresses", "reverse_path", "forward_path"}
    of_certificate = {"version", "subject", "until"}
    with_certificate = {Cause.EXPIRES_SOON, Cause.UNCHECKED}
    for (_, cause), (words, remedy) in _WORDS.items():
        allowed = always | (of_certificate if cause in with_certificate else set())
        assert _placeholders(str(words)) <= allowed
        assert _placeholders(str(remedy)) == set()
    for step, well in _WELL.items():
        assert _placeholders(str(well)) <= always | (of_certificate if step is ProbeStep.TLS else set())


def _placeholders(text: str) -> set[str]:
    return {piece.split(")")[0] for piece in text.split("%(")[1:]}


def test_an_administrator_reads_the_test_in_their_language(people: Cast) -> None:
    with translation.override("en"):
        lazy = _WORDS[None, Cause.UNKNOWN_HOST][0]
        assert str(lazy) == "There is no host called “%(host)s”."
    assert not isinstance(lazy, str)


def test_the_password_is_nowhere_in_a_test(people: Cast) -> None:
    script = ScriptedRelay(
        {"AUTH": lambda line: b"535 5.7.8 %b " % line + PASSWORD.encode() + b"\r\n"}, offers=("AUTH PLAIN",)
    )
    with beside(script):
        steps = tried(server_at(people, script.port, user="ana", password=PASSWORD), people.olga)
    assert PASSWORD not in repr(steps)
    assert script.lines[1].split()[-1].decode() not in repr(steps)


def test_only_administrators_and_its_owner_may_test_a_server(people: Cast) -> None:
    script = ScriptedRelay()
    with beside(script):
        server = server_at(people, script.port)
        hers = server_at(people, script.port, name="Olga's", owner=people.olga)
        own = server_at(people, script.port, name="Ana's", owner=people.ana)
        for refused in (server, hers):
            with pytest.raises(RequestRefused):
                tried(refused, people.ana)
        assert script.visits == []
        assert is_good(tried(own, people.ana))


def test_a_neighbour_may_not_test_our_server(people: Cast) -> None:
    from tests.people import cast

    script = ScriptedRelay()
    with beside(script), pytest.raises(RequestRefused):
        tried(server_at(people, script.port), cast("next").olga)
    assert script.visits == []


def test_the_shared_relay_is_tested_by_operators_as_relay_url_says(people: Cast, settings: object) -> None:
    Member.objects.filter(pk=people.ana.pk).update(role="admin")
    people.ana.refresh_from_db()
    shared, script = relays.shared_server(), ScriptedRelay()
    with beside(script):
        settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"  # type: ignore[attr-defined]
        with pytest.raises(RequestRefused):
            tried(shared, people.ana)
        assert is_good(tried(shared, people.olga))
        assert is_good(tried(shared, None))


@pytest.mark.parametrize(
    ("url", "remedy"), [("", "Set RELAY_URL"), ("http://relay.example", "must start with one of")]
)
def test_a_relay_that_is_not_set_or_set_wrongly_is_a_step_that_failed(
    people: Cast, settings: object, url: str, remedy: str
) -> None:
    settings.POSTROOM_RELAY_URL = url  # type: ignore[attr-defined]
    [step] = tried(relays.shared_server(), people.olga)
    assert (step.key, step.state) == ("settings", "failed")
    assert remedy in step.remedy


def test_a_password_whose_key_is_gone_asks_to_be_entered_anew(people: Cast) -> None:
    server = server_at(people, 25, user="ana", password=PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE postroom_mailserver SET password = 'broken' WHERE id = %s", [server.pk])
    [step] = tried(MailServer.objects.defer(*relays.SECRETS).get(pk=server.pk), people.olga)
    assert (step.key, step.remedy) == ("settings", "Enter it anew.")


def test_a_provider_with_an_api_is_not_pretended_to_be_tested(people: Cast) -> None:
    steps = tried(server_at(people, 25, transport="esp", esp="sendgrid"), people.olga)
    assert [(step.key, step.state) for step in steps] == [("api", "skipped")]
    assert "cannot be tested without sending" in steps[0].words
    assert verdict(steps) == "Nothing was tested."
    assert not is_good(steps)
