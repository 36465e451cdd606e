"""What strangers may try: smuggling, bad addresses, floods, trickles."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.smtp.listener import ListenerLimits
from tests.smtp.conftest import Run, run_on
from tests.smtp.guests import OpenDoor, calling, listening, visiting

ENDINGS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "LF.CR": b"\n.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF.SP CRLF": b"\r\n. \r\n",
}
SECOND = (
    b"MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<smuggled@demo.example>\r\n"
    b"DATA\r\nSubject: smuggled\r\n\r\nx"
)


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("is_dribbled", [False, True])
def test_only_crlf_dot_crlf_ends_a_mail(run: Run[None], ending: bytes, is_dribbled: bool) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.begin()
            await guest.say(b"DATA\r\n")
            octets = b"Subject: first\r\n\r\nHello" + ending + SECOND + b"\r\n.\r\n"
            for piece in [octets[n : n + 1] for n in range(len(octets))] if is_dribbled else [octets]:
                guest.write(piece)
                await asyncio.sleep(0)
            answer = await guest.hear()
            assert (await guest.say(b"QUIT\r\n")).startswith(b"221 ")
        assert "smuggled@demo.example" not in door.asked
        assert len(door.mails) <= 1
        is_bare = not ending.count(b"\r\n") == ending.count(b"\r") == ending.count(b"\n")
        assert answer.startswith(b"550 5.6.11 " if is_bare else b"250 ")
        assert len(door.mails) == (0 if is_bare else 1)

    run(scenario())


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\0", b"\r\n.\r\n", b"QUIT"]), max_size=30)
)
@settings(max_examples=60, deadline=None)
def test_content_is_one_mail_whatever_it_holds(pieces: list[bytes]) -> None:
    """Compared with the rule itself: the first CRLF.CRLF after DATA ends the mail."""
    stream = b"".join(pieces)
    content, _, _ = (b"\r\n" + stream + b"\r\n.\r\n").partition(b"\r\n.\r\n")
    expected = (content + b"\r\n")[2:]

    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.begin()
            await guest.say(b"DATA\r\n")
            answer = await guest.say(stream + b"\r\n.\r\n")
        is_bare = not expected.count(b"\r\n") == expected.count(b"\r") == expected.count(b"\n")
        assert answer.startswith(b"550 5.6.11 " if is_bare else b"250 ")
        unstuffed = (b"\r\n" + expected).replace(b"\r\n.", b"\r\n")[2:]
        assert [mail.content for mail in door.mails] == ([] if is_bare else [unstuffed])

    run_on(asyncio.new_event_loop, scenario())


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"<ana@demo.example>", b"250"),
        (b"<postmaster>", b"250"),
        (b"<a%b.example@demo.example>", b"250"),
        (b"<b.example!a@demo.example>", b"250"),
        (b'<"a@b.example"@demo.example>', b"250"),
        (b"<a@[192.0.2.1]>", b"250"),
        (b"<a@[IPv6:2001:db8::1]>", b"250"),
        (b"<@relay.example:a@b.example>", b"550 5.7.1"),
        (b"<@relay.example,@other.example:a@b.example>", b"550 5.7.1"),
        (b"<a@b.example@demo.example>", b"501 5.1.3"),
        (b"<a@@demo.example>", b"501 5.1.3"),
        (b"<@demo.example>", b"550 5.7.1"),
        (b"<a@>", b"501 5.1.3"),
        (b"<a>", b"501 5.1.3"),
        (b"<>", b"501 5.1.3"),
        (b"<a b@demo.example>", b"501 5.1.3"),
        (b"<a@demo.example", b"501 5.5.4"),
        (b"a@demo.example", b"501 5.5.4"),
        (b"<a@demo.example><b@demo.example>", b"501 5.5.4"),
        (b"<a@demo.example> NOTIFY=NEVER", b"555 5.5.4"),
        (b"<" + b"a" * 300 + b"@demo.example>", b"501 5.1.3"),
        ("<ană@demo.example>".encode(), b"553 5.6.7"),
        (b"<a\0@demo.example>", b"500 5.5.2"),
        (b"<a\r@demo.example>", b"500 5.5.2"),
        (b"<a\x7f@demo.example>", b"500 5.5.2"),
    ],
)
def test_forward_paths_are_addresses_or_refused(run: Run[None], path: bytes, answer: bytes) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.begin(0)
            assert (await guest.say(b"RCPT TO:" + path + b"\r\n")).startswith(answer + b" ")
        taken = path[1:-1].decode() if answer == b"250" else None
        assert door.asked == ([taken] if taken else [])

    run(scenario())


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (b"FROM:<>", b"250 2.1.0"),
        (b"from:<a@b.example> size=100 body=8bitmime", b"250 2.1.0"),
        (b"FROM: <a@b.example>", b"250 2.1.0"),
        ("FROM:<ană@b.example> SMTPUTF8".encode(), b"250 2.1.0"),
        ("FROM:<ană@b.example>".encode(), b"553 5.6.7"),
        (b"FROM:<\xff\xfe@b.example> SMTPUTF8", b"501 5.1.7"),
        (b"FROM:<a@b@c.example>", b"501 5.1.7"),
        (b"FROM:<a\0@b.example>", b"500 5.5.2"),
        (b"FROM:<a\r@b.example>", b"500 5.5.2"),
        (b"FROM:<a@b.example> SIZE=99999999999", b"552 5.3.4"),
        (b"FROM:<a@b.example> SIZE=-1", b"501 5.5.4"),
        (b"FROM:<a@b.example> SIZE=" + b"9" * 1000, b"501 5.5.4"),
        (b"FROM:<a@b.example> BODY=BINARYMIME", b"501 5.5.4"),
        (b"FROM:<a@b.example> RET=FULL", b"555 5.5.4"),
        (b"TO:<a@b.example>", b"501 5.5.4"),
        (b"", b"501 5.5.4"),
    ],
)
def test_reverse_paths_are_addresses_or_refused(run: Run[None], argument: bytes, answer: bytes) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.hear()
            await guest.say(b"EHLO guest.example\r\n")
            assert (await guest.say(b"MAIL " + argument + b"\r\n")).startswith(answer + b" ")

    run(scenario())


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_octets_get_an_answer_or_the_door_shut(octets: bytes) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.begin()
            guest.write(octets.replace(b"DATA", b"") + b"\r\nQUIT\r\n")
            answers = await guest.all()
            lines = b"\r\n" + answers
            assert b"\r\n221 2.0.0 " in lines or b"\r\n421 4.7.0 " in lines
        assert door.mails == []

    run_on(asyncio.new_event_loop, scenario())


def test_a_command_that_ends_in_a_bare_line_feed_is_not_obeyed(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.hear()
            assert (await guest.say(b"EHLO guest.example\nMAIL FROM:<a@b.example>\r\n")).startswith(
                b"500 5.5.2"
            )
            assert (await guest.hear()).startswith(b"503 ")

    run(scenario())


@pytest.mark.parametrize("is_slow", [False, True])
def test_content_sent_before_it_was_invited_is_not_obeyed(run: Run[None], is_slow: bool) -> None:
    async def scenario() -> None:
        door = OpenDoor(is_slow=is_slow)
        async with visiting(door) as guest:
            await guest.hear()
            await guest.say(b"EHLO guest.example\r\n")
            guest.write(
                b"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.example>\r\nDATA\r\nSubject: x\r\n\r\n"
                b"RCPT TO:<two@demo.example>\r\n.\r\n"
            )
            door.gate.set()
            answers = (await guest.all()).splitlines()
        assert [answer[:3] for answer in answers] == [b"250", b"250", b"554"]
        assert door.asked == ["one@demo.example"]
        assert door.mails == []

    run(scenario())


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"CONNECT x:25 HTTP/1.1"])
def test_a_browser_made_to_speak_to_us_is_shown_out(run: Run[None], request_line: bytes) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.hear()
            guest.write(request_line + b"\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n")
            assert (await guest.all()).startswith(b"421 4.7.0 ")

    run(scenario())


def test_a_line_of_100_kilobytes_is_refused_in_bounded_memory(run: Run[None]) -> None:
    async def scenario() -> None:
        async with listening(OpenDoor()) as (listener, host, port), calling(host, port) as guest:
            await guest.hear()
            guest.write(b"NOOP " + b"x" * 100_000)
            while not next(iter(listener.visitors)).discarded_octets:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert len(next(iter(listener.visitors)).buffer) <= listener.limits.line_octets
            assert (await guest.say(b"\r\n")).startswith(b"500 5.5.2 ")
            assert (await guest.say(b"NOOP\r\n")).startswith(b"250 ")

    run(scenario())


def test_a_line_without_end_is_cut(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.hear()
            guest.write(b"x" * 400_000)
            assert b"500 5.5.2 " in await guest.all()

    run(scenario())


SMALL = ListenerLimits(
    content_octets=1000, held_octets=3000, recipients=3, errors=3, junk=5, excess_recipients=9
)


@pytest.mark.parametrize("declared", [b"", b" SIZE=10"])
def test_a_content_over_the_limit_is_read_to_its_end_and_refused(run: Run[None], declared: bytes) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with listening(door, SMALL) as (listener, host, port), calling(host, port) as guest:
            await guest.hear()
            await guest.say(b"EHLO guest.example\r\n")
            await guest.say(b"MAIL FROM:<a@b.example>" + declared + b"\r\n")
            await guest.say(b"RCPT TO:<a@demo.example>\r\n")
            await guest.say(b"DATA\r\n")
            for _ in range(30):
                guest.write(b"x" * 98 + b"\r\n")
                await asyncio.sleep(0)
            assert listener.held_octets <= 2000
            assert (await guest.say(b".\r\n")).startswith(b"552 5.3.4 ")
            assert (await guest.say(b"NOOP\r\n")).startswith(b"250 ")
            assert listener.held_octets == 0
        assert door.mails == []

    run(scenario())


def test_a_content_far_over_the_limit_is_cut(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door, SMALL) as guest:
            await guest.begin()
            await guest.say(b"DATA\r\n")
            guest.write(b"x" * 4100)
            assert (await guest.all()).startswith(b"552 5.3.4 ")
        assert door.mails == []

    run(scenario())


def test_unfinished_mails_together_are_bounded(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with listening(door, SMALL) as (listener, host, port), contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                guest = await stack.enter_async_context(calling(host, port))
                await guest.begin()
                await guest.say(b"DATA\r\n")
                guest.write(b"x" * 900)
            while not any(visitor.has_no_room for visitor in listener.visitors):
                await asyncio.sleep(0.001)
            assert listener.held_octets <= SMALL.held_octets
            assert (await guest.say(b"\r\n.\r\n")).startswith(b"452 4.3.1 ")

    run(scenario())


def test_recipients_beyond_the_limit_wait_for_another_transaction(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door, SMALL) as guest:
            await guest.begin(3)
            answers = [await guest.say(b"RCPT TO:<x@demo.example>\r\n") for _ in range(9)]
            assert all(answer.startswith(b"452 4.5.3 ") for answer in answers)
            guest.write(b"RCPT TO:<x@demo.example>\r\n" * 3)
            assert b"421 4.7.0 " in await guest.all()
        assert len(door.asked) == 3

    run(scenario())


def test_a_mail_to_three_thousand_is_taken_for_the_first_hundred(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            await guest.begin(0)
            guest.write(b"RCPT TO:<x@demo.example>\r\n" * 3000)
            answers = [await guest.say(b"") for _ in range(3000)]
            assert [answer[:3] for answer in answers] == [b"250"] * 100 + [b"452"] * 2900
            assert (await guest.say(b"DATA\r\n")).startswith(b"354 ")
            assert (await guest.say(b"hi\r\n.\r\n")).startswith(b"250 ")
        assert len(door.mails) == 1

    run(scenario())


@pytest.mark.parametrize(
    "command", [b"FROB\r\n", b"RCPT TO:<nobody@demo.example>\r\n", b"NOOP\r\n", b"RSET\r\n", b"EHLO x\r\n"]
)
def test_endless_fruitless_commands_end_the_connection(run: Run[None], command: bytes) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor(), SMALL) as guest:
            await guest.begin()
            guest.write(command * 100)
            assert (await guest.all()).splitlines()[-1].startswith(b"421 4.7.0 ")

    run(scenario())


def test_a_flood_of_commands_waits_in_the_clients_own_socket(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor(is_slow=True)
        limits = ListenerLimits(buffer_octets=10_000, junk=10_000_000)
        async with listening(door, limits) as (listener, host, port), calling(host, port) as guest:
            await guest.begin(0)
            guest.write(b"RCPT TO:<a@demo.example>\r\n" + b"NOOP\r\n" * 2_000_000)
            visitor = next(iter(listener.visitors))
            while not visitor.is_paused:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert len(visitor.buffer) < 2_000_000
            door.gate.set()
            for _ in range(2000):
                assert (await guest.hear()).startswith(b"250 ")

    run(scenario())


def test_a_client_that_does_not_read_its_replies_is_not_served_on(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = ListenerLimits(junk=10_000_000, sweep_seconds=0.02, idle_seconds=0.1)
        async with listening(OpenDoor(), limits) as (listener, host, port), calling(host, port) as guest:
            await guest.hear()
            guest.writer.transport.pause_reading()  # type: ignore[attr-defined]
            guest.write(b"HELP\r\n" * 1_000_000)
            visitor = next(iter(listener.visitors))
            while visitor.is_writable:
                await asyncio.sleep(0.001)
            assert visitor.transport.get_write_buffer_size() < 40_000_000
            while listener.visitors:
                await asyncio.sleep(0.01)

    run(scenario())


def test_connections_are_limited_in_all_and_for_each_peer(run: Run[None]) -> None:
    async def scenario(limits: ListenerLimits) -> None:
        async with listening(OpenDoor(), limits) as (listener, host, port):
            async with calling(host, port) as first, calling(host, port) as second:
                assert (await first.hear()).startswith(b"220 ")
                assert (await second.hear()).startswith(b"220 ")
                async with calling(host, port) as third:
                    assert (await third.all()).startswith(b"421 4.7.0 ")
            while listener.visitors:
                await asyncio.sleep(0.001)
            async with calling(host, port) as fourth:
                assert (await fourth.hear()).startswith(b"220 ")

    run(scenario(ListenerLimits(connections=2)))
    run(scenario(ListenerLimits(connections_per_peer=2)))


QUICK = ListenerLimits(
    idle_seconds=0.1,
    data_seconds=0.3,
    slow_start_seconds=0.1,
    least_octets_per_second=1000,
    sweep_seconds=0.02,
)


def test_a_silent_client_is_cut(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor(), QUICK) as guest:
            await guest.hear()
            assert (await guest.all()).startswith(b"421 4.4.2 ")

    run(scenario())


def test_dripping_a_command_does_not_hold_the_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with listening(OpenDoor(), QUICK) as (listener, host, port), calling(host, port) as guest:
            await guest.hear()
            while listener.visitors:
                guest.write(b"N")
                await asyncio.sleep(0.02)

    run(scenario())


def test_a_trickling_content_is_cut_and_others_are_served(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with listening(door, QUICK) as (_, host, port), calling(host, port) as slow:
            await slow.begin()
            await slow.say(b"DATA\r\n")
            for _ in range(5):
                slow.write(b"x")
                await asyncio.sleep(0.01)
            async with calling(host, port) as other:
                assert (await other.send(b"x")).startswith(b"250 ")
            assert (await slow.all()).startswith(b"421 4.4.2 ")
        assert len(door.mails) == 1

    run(scenario())


def test_a_content_that_takes_too_long_is_cut_however_fast_it_comes(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with listening(door, QUICK) as (listener, host, port), calling(host, port) as guest:
            await guest.begin()
            await guest.say(b"DATA\r\n")
            while listener.visitors:
                guest.write(b"x" * 1000)
                await asyncio.sleep(0.02)
        assert door.mails == []

    run(scenario())


def test_half_a_mail_leaves_nothing_behind(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with listening(door) as (listener, host, port):
            async with calling(host, port) as guest:
                await guest.begin()
                await guest.say(b"DATA\r\n")
                guest.write(b"Subject: half\r\n\r\nHello\r\n.")
                while not listener.held_octets:
                    await asyncio.sleep(0.001)
            while listener.visitors:
                await asyncio.sleep(0.001)
            assert listener.held_octets == 0
        assert door.mails == []

    run(scenario())
