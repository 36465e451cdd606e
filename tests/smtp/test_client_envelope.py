"""MAIL, RCPT and DATA: a refusal settles one mail and never its neighbours, and content never follows it."""

from __future__ import annotations

import pytest

from postroom.smtp.client import MailObject
from postroom.smtp.offers import Offers
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import BRIEF, Act, Answers, Pigeonhole, ScriptedRelay, deliver, mail, mails

WITH_AND_WITHOUT = [("PIPELINING", "SIZE 1000000"), ("SIZE 1000000",)]


def good(verb: str) -> Answers:
    return {verb: b"354 Ok\r\n" if verb == "DATA" else b"250 Ok\r\n"}


def only(verb: str, marker: bytes, answer: bytes | Act) -> Answers:
    """Give this answer to the commands that hold the marker."""
    return {verb: lambda line: answer if marker in line else b"250 2.1.5 Ok\r\n"}


@pytest.mark.parametrize("offers", WITH_AND_WITHOUT)
@pytest.mark.parametrize(
    "answer", [b"550 5.1.1 No such user\r\n", b"450-4.7.1 Greylisted\r\n450 4.7.1 Later\r\n"]
)
def test_a_refused_recipient_does_not_touch_the_others(
    run: Run[Pigeonhole], offers: tuple[str, ...], answer: bytes
) -> None:
    script = ScriptedRelay(only("RCPT", b"<p2@", answer), offers=offers)
    script.answers = {**script.answers, "DATA": lambda _: data_answer(script)}
    hole = run(deliver(script, mails(3)))
    refused = Outcome.REFUSED if answer.startswith(b"5") else Outcome.DEFERRED
    assert hole.kinds() == [Outcome.ACCEPTED, refused, Outcome.ACCEPTED]
    assert hole.outcomes[2].reply is not None
    assert hole.outcomes[2].reply.octets() == answer
    assert not hole.outcomes[2].began
    assert script.verbs().count("RSET") == 1
    assert ("begun", 2) not in hole.notes


def data_answer(script: ScriptedRelay) -> bytes:
    """Invite content only if the last recipient was taken."""
    return b"554 5.5.1 No valid recipients\r\n" if b"<p2@" in script.lines[-2] else b"354 go\r\n"


@pytest.mark.parametrize("offers", WITH_AND_WITHOUT)
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(("code", "outcome"), [(451, Outcome.DEFERRED), (552, Outcome.REFUSED)])
def test_a_refusal_at_each_command_settles_the_mail(
    run: Run[Pigeonhole], offers: tuple[str, ...], verb: str, code: int, outcome: Outcome
) -> None:
    order = ("MAIL", "RCPT", "DATA")
    answers = dict.fromkeys(order[order.index(verb) + 1 :], b"503 5.5.1 Out of order\r\n")
    answers[verb] = b"%d no\r\n" % code
    hole = run(deliver(ScriptedRelay(answers, offers=offers), mails(2)))
    assert hole.kinds() == [outcome, outcome]
    assert [settled.reply and settled.reply.code for settled in hole.outcomes.values()] == [code, code]
    assert hole.notes == []


def test_content_never_follows_a_refused_recipient(run: Run[Pigeonhole]) -> None:
    """A relay may invite content although it refused the recipient (RFC 2920 §3.1)."""
    script = ScriptedRelay(only("RCPT", b"<p2@", b"550 5.1.1 No such user\r\n"))
    hole = run(deliver(script, mails(3)))
    assert hole.kinds() == [Outcome.ACCEPTED, Outcome.REFUSED, Outcome.ACCEPTED]
    assert script.contents == [b"Subject: x\r\n\r\nHello\r\n", b"", b"Subject: x\r\n\r\nHello\r\n"]
    assert hole.notes == [("begun", 1), ("replied", 1), ("begun", 3), ("replied", 3)]


@pytest.mark.parametrize("offers", WITH_AND_WITHOUT)
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("deed", [Act.CLOSE, Act.RESET, Act.HALF_CLOSE])
def test_a_connection_lost_before_content_leaves_the_mail_not_begun(
    run: Run[Pigeonhole], offers: tuple[str, ...], verb: str, deed: Act
) -> None:
    script = ScriptedRelay({verb: deed}, later={1: good(verb)}, offers=offers)
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.UNREACHABLE, Outcome.ACCEPTED]
    assert not hole.outcomes[1].began
    assert hole.notes == [("begun", 2), ("replied", 2)]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_silence_before_content_leaves_the_mail_not_begun(run: Run[Pigeonhole], verb: str) -> None:
    script = ScriptedRelay({verb: Act.SILENCE}, later={1: good(verb)})
    hole = run(deliver(script, mails(2), timeouts=BRIEF))
    assert hole.kinds() == [Outcome.UNREACHABLE, Outcome.ACCEPTED]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_421_defers_the_mail_it_answers_and_the_others_go_on(run: Run[Pigeonhole], verb: str) -> None:
    busy = (b"421 4.3.2 Too busy\r\n", Act.CLOSE)
    script = ScriptedRelay({verb: busy}, later={1: good(verb)})
    hole = run(deliver(script, mails(3)))
    assert hole.kinds() == [Outcome.DEFERRED, Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert hole.outcomes[1].reply is not None
    assert hole.outcomes[1].reply.code == 421


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_garbage_before_content_defers_the_mail(run: Run[Pigeonhole], verb: str) -> None:
    script = ScriptedRelay({verb: b"hello there\r\n"}, later={1: good(verb)})
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.DEFERRED, Outcome.ACCEPTED]
    assert not hole.outcomes[1].began
    assert hole.outcomes[1].reply is not None
    assert hole.outcomes[1].reply.text == "hello there"


def test_250_to_data_is_no_invitation(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"DATA": b"250 2.0.0 Ok\r\n"}, later={1: {"DATA": b"354 go\r\n"}})
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.DEFERRED, Outcome.ACCEPTED]
    assert len(script.contents) == 1


def test_size_is_declared_only_if_announced(run: Run[Pigeonhole]) -> None:
    announced, silent = ScriptedRelay(), ScriptedRelay(offers=())
    run(deliver(announced, [mail(content=b"12345678\r\n")]))
    run(deliver(silent, [mail(content=b"12345678\r\n")]))
    assert b"MAIL FROM:<ana@demo.example> SIZE=10" in announced.lines
    assert b"MAIL FROM:<ana@demo.example>" in silent.lines


def test_the_null_reverse_path_is_written_as_empty_brackets(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay(offers=())
    run(deliver(script, [MailObject(1, b"", b"ben@example.org", b"x\r\n")]))
    assert b"MAIL FROM:<>" in script.lines


def test_8bitmime_and_smtputf8_are_asked_for_only_if_needed() -> None:
    offers = Offers(eight_bit=True, smtputf8=True)
    plain = MailObject(1, b"a@b.example", b"c@d.example", b"Subject: x\r\n\r\nplain\r\n")
    eight = MailObject(1, b"a@b.example", b"c@d.example", "Subject: x\r\n\r\nmâine\r\n".encode())
    header = MailObject(1, b"a@b.example", b"c@d.example", "Subject: mâine\r\n\r\nx\r\n".encode())
    address = MailObject(1, b"a@b.example", "școală@d.example".encode(), b"Subject: x\r\n\r\nx\r\n")
    assert [offers.parameters(each) for each in (plain, eight, header, address)] == [
        b"",
        b" BODY=8BITMIME",
        b" BODY=8BITMIME SMTPUTF8",
        b" SMTPUTF8",
    ]
    assert Offers().parameters(header) == b""


def test_an_address_outside_ascii_is_refused_here_if_the_relay_cannot_take_it(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    hole = run(deliver(script, [mail(1, "școală@example.org".encode()), mail(2)]))
    assert hole.kinds() == [Outcome.REFUSED, Outcome.ACCEPTED]
    assert str(hole.outcomes[1].reply).startswith("550 5.6.7")
    assert len(script.contents) == 1


@pytest.mark.parametrize(
    "path",
    [
        b"a@b.example>\r\nRCPT TO:<x@y.example",
        b"a@b.example\n",
        b"a@b\0.example",
        b"a@b.example> SIZE=1",
        b"a b@c.example",
        b'"a\r\n"@c.example',
        b"a@b\x7f",
    ],
)
def test_no_address_can_carry_a_command(run: Run[Pigeonhole], path: bytes) -> None:
    script = ScriptedRelay(offers=("PIPELINING", "SMTPUTF8"))
    hole = run(deliver(script, [mail(1, path), MailObject(2, path, b"ben@example.org", b""), mail(3)]))
    assert hole.kinds() == [Outcome.REFUSED, Outcome.REFUSED, Outcome.ACCEPTED]
    assert script.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_quoted_local_part_may_hold_a_space(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    assert run(deliver(script, [mail(1, b'"ana maria"@example.org')])).kinds() == [Outcome.ACCEPTED]
    assert b'RCPT TO:<"ana maria"@example.org>' in script.lines
