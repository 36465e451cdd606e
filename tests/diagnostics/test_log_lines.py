"""What a line of the log may hold: one line, no whole address, nothing that passes for what we wrote."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.diagnostics.log_lines import DIALECTS, Cover, MessageId, Own, Person, line, masked
from postroom.diagnostics.log_search import fields_of
from postroom.wire.threads import mint_message_id

AT = datetime(2026, 11, 21, 5, 0, 1, 123456, tzinfo=UTC)
COVER = Cover(b"key" * 8)
TAG = masked("ana@example.com", COVER.key).partition("~")[2]


def human(*fields: tuple[str, object]) -> str:
    return line(DIALECTS["human"], COVER, AT, ("INFO", "sent", *fields))


def test_a_line_for_people_reads_as_the_documentation_says() -> None:
    written = human(
        ("message", Own("<1@demo.example>")),
        ("email", 123),
        ("to", Person("ana@example.com")),
        ("server", "relay"),
        ("reply", "250 2.0.0 ok"),
    )
    assert written == (
        "2026-11-21 05:00:01.123Z INFO sent message=<1@demo.example> email=123 "
        f'to=a****@example.com~{TAG} server=relay reply="250 2.0.0 ok"\n'
    )


def test_a_line_for_programs_is_one_json_object() -> None:
    written = line(DIALECTS["json"], COVER, AT, ("WARNING", "failed", ("email", 1), ("reply", 'a "b" \\ c')))
    assert json.loads(written) == {
        "timestamp": "2026-11-21T05:00:01.123Z",
        "level": "warning",
        "event": "failed",
        "email": 1,
        "reply": 'a "b" \\ c',
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to ana@example.com, refused", f"to a****@example.com~{TAG}, refused"),
        ("to ANA@Example.COM", f"to a****@example.com~{TAG}"),
        ("no address here", "no address here"),
        ("~all and a~b", "~all and a~b"),
    ],
)
def test_addresses_in_foreign_words_are_shortened_and_tagged(text: str, shown: str) -> None:
    assert COVER.foreign(text) == shown


@given(st.from_regex(r"[a-z][a-z0-9.+-]{2,30}@[a-z]{1,10}\.example", fullmatch=True))
def test_no_local_part_is_left_in_foreign_words(address: str) -> None:
    assert address not in COVER.foreign(f"mail for {address} failed")


def test_a_quoted_local_part_is_hidden_as_a_whole() -> None:
    assert "doe" not in human(("from", Person('"john doe"@example.com')))


def test_another_key_makes_another_tag() -> None:
    assert masked("ana@example.com", b"a" * 32) != masked("ana@example.com", b"b" * 32)


def test_nobody_can_write_a_tag_of_ours() -> None:
    forged = f"550 a****@example.com~{TAG} is unknown"
    assert TAG not in COVER.foreign(forged).replace("-", "~").partition("~")[0]
    assert f"~{TAG}" not in COVER.foreign(forged)
    assert f"~{TAG}" not in human(("from", Person(f"x@example.com~{TAG}")))


def test_a_long_line_without_an_address_costs_no_time() -> None:
    begun = time.perf_counter()
    COVER.foreign("a" * 200_000, longest=None)
    assert time.perf_counter() - begun < 2


@given(st.text(max_size=200), st.sampled_from(["human", "json"]))
def test_what_a_stranger_wrote_stays_in_its_value(text: str, dialect: str) -> None:
    """Whatever it is: one line, no control character, no second field, and it is read back as it stands."""
    written = line(DIALECTS[dialect], COVER, AT, ("INFO", "sent", ("reply", text), ("email", 5)))
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1
    assert all(each.isprintable() or each == "\n" or ord(each) > 0x9F for each in written)
    assert "\x1b" not in written
    fields = fields_of(written[:-1])
    assert set(fields) <= {"timestamp", "level", "event", "reply", "email"}
    assert (str(fields["email"]), fields["event"]) == ("5", "sent")
    assert fields.get("reply", "") == COVER.foreign(text)


@given(st.text(max_size=80), st.text(max_size=40))
def test_an_address_that_a_stranger_made_up_stays_in_its_value(local_part: str, domain: str) -> None:
    written = human(("from", Person(f"{local_part}@{domain}")), ("email", 5))
    fields = fields_of(written[:-1])
    assert set(fields) <= {"level", "event", "from", "email"}
    assert len(written.splitlines()) == 1


@pytest.mark.parametrize(
    "written",
    [
        '"ana secret"@example.com',
        '"ana\\"secret"@example.com',
        "ana.secret@[192.0.2.1]",
        "ana.secret@[IPv6:2001:db8::1]",
        "ana.secret%40example.com",
        "ana.secret=40example.com",
        "ana.secret\uff20example.com",
        "ana.secret\ufe6bexample.com",
        "ana.secret(home)@example.com",
        "ana.secret@(home)example.com",
    ],
)
def test_an_address_is_hidden_however_a_server_writes_it(written: str) -> None:
    covered = COVER.foreign(f"550 <{written}> is unknown")
    assert "secret" not in covered
    assert "****@" in covered
    assert covered.endswith("> is unknown")


def test_an_encoded_address_has_the_tag_of_the_plain_one() -> None:
    for written in (
        "ana%40example.com",
        "ana=40Example.com",
        "ana\uff20example.com",
        "ana(home)@example.com",
    ):
        assert COVER.foreign(written) == f"a****@example.com~{TAG}"


@pytest.mark.parametrize("text", ["size=40 of 100%40", "timeout=40s", "rate=40.5 a day", "at 17:40@"])
def test_a_number_is_no_address(text: str) -> None:
    assert COVER.foreign(text) == text


@pytest.mark.parametrize(
    "piece", ["@", '"', "a(", "@[", "a@(", "=40", "a=401.1", "%40a.", '"\\', "a@a.", "a@[a"]
)
def test_a_text_that_is_full_of_signs_costs_no_time(piece: str) -> None:
    begun = time.perf_counter()
    COVER.foreign(piece * (100_000 // len(piece)) + "@", longest=None)
    assert time.perf_counter() - begun < 3


def test_a_message_id_made_here_is_shown_whole() -> None:
    made = mint_message_id("0b30ec0ee2d742fa84e6a0a8ee294604", "demo.example")
    assert f"message={made}" in human(("message", MessageId(made)))


@pytest.mark.parametrize(
    "forged", [f"<b****@example.com~{TAG}>", f"<x~{TAG}@e.example>", f"<{'a' * 32}@e.example~{TAG}>"]
)
def test_nobody_can_write_a_tag_of_ours_into_a_message_id(forged: str) -> None:
    assert f"~{TAG}" not in human(("id", MessageId(forged)))


def test_a_message_id_of_a_stranger_is_short_and_hides_addresses() -> None:
    assert "secret" not in human(("id", MessageId("<secret.person@example.com>")))
    assert len(human(("id", MessageId(f"<{'A' * 900}@e.example>")))) < 600
