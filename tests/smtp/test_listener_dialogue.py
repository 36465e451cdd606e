"""Commands and their answers, as RFC 5321 has them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from postroom.smtp.client import Connections, Relay
from postroom.smtp.listener import ListenerLimits, Session, Transaction
from postroom.wire.reply import Outcome, Reply
from tests.smtp.conftest import Run
from tests.smtp.guests import OK, Guest, OpenDoor, calling, listening, visiting
from tests.smtp.scripted import PATIENT, Pigeonhole, mails


def test_a_mail_reaches_the_door_with_its_envelope(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            answer = await guest.send(b"Subject: x\r\n\r\n..one\r\n...\r\n.two")
            assert answer == b"250 2.0.0 Taken\r\n"
        assert door.mails == [
            Transaction("carla@example.org", ["p0@demo.example"], b"Subject: x\r\n\r\n.one\r\n..\r\ntwo\r\n")
        ]
        assert (door.sessions[0].peer, door.sessions[0].helo) == ("127.0.0.1", "guest.example")
        assert door.sessions[0].id

    run(scenario())


def test_ehlo_announces_what_we_keep(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.hear()
            assert (await guest.say(b"ehlo guest.example\r\n")).splitlines() == [
                b"250-mx.demo.example",
                b"250-PIPELINING",
                b"250-SIZE 52428800",
                b"250-8BITMIME",
                b"250-ENHANCEDSTATUSCODES",
                b"250 SMTPUTF8",
            ]
            assert await guest.say(b"HELO guest.example\r\n") == b"250 mx.demo.example\r\n"

    run(scenario())


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"NOOP", b"250 2.0.0"),
        (b"RSET", b"250 2.0.0"),
        (b"HELP", b"214 2.0.0"),
        (b"VRFY ana", b"252 2.1.5"),
        (b"EXPN staff", b"502 5.5.1"),
        (b"STARTTLS", b"502 5.5.1"),
        (b"AUTH PLAIN AGEAYg==", b"502 5.5.1"),
        (b"BDAT 5 LAST", b"502 5.5.1"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25", b"502 5.5.1"),
        (b"XCLIENT ADDR=192.0.2.1", b"502 5.5.1"),
        (b"FROBNICATE", b"500 5.5.1"),
        (b"", b"500 5.5.1"),
        (b"EHLO", b"501 5.5.4"),
        (b"MAIL FROM:<a@b.example>", b"503 5.5.1"),
        (b"RCPT TO:<a@b.example>", b"503 5.5.1"),
        (b"DATA", b"503 5.5.1"),
        (b"QUIT", b"221 2.0.0"),
    ],
)
def test_each_command_has_its_answer(run: Run[None], command: bytes, answer: bytes) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.hear()
            assert (await guest.say(command + b"\r\n")).startswith(answer + b" ")

    run(scenario())


def test_a_stranger_cannot_pass_for_another_with_xclient_or_proxy(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor()
        async with visiting(door) as guest:
            guest.write(b"XCLIENT ADDR=192.0.2.1\r\nPROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")
            for expected in (b"220", b"502", b"502"):
                assert (await guest.hear()).startswith(expected)
            await guest.say(b"EHLO guest.example\r\n")
            await guest.say(b"MAIL FROM:<carla@example.org>\r\n")
            await guest.say(b"RCPT TO:<p0@demo.example>\r\n")
            await guest.say(b"DATA\r\n")
            await guest.say(b"x\r\n.\r\n")
        assert door.sessions[0].peer == "127.0.0.1"

    run(scenario())


def test_replies_to_a_pipelined_group_come_in_order_while_the_door_thinks(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor(is_slow=True)
        async with visiting(door) as guest:
            await guest.hear()
            await guest.say(b"EHLO guest.example\r\n")
            guest.write(
                b"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.example>\r\nRCPT TO:<nobody@demo.example>\r\n"
                b"RCPT TO:<two@demo.example>\r\nDATA\r\n"
            )
            assert (await guest.hear()).startswith(b"250 2.1.0")
            assert door.asked == ["one@demo.example"]
            door.gate.set()
            codes = [(await guest.hear())[:3] for _ in range(4)]
            assert codes == [b"250", b"550", b"250", b"354"]
            assert (await guest.say(b"x\r\n.\r\n")).startswith(b"250 ")
        assert door.mails[0].forward_paths == ["one@demo.example", "two@demo.example"]
        assert door.sessions[0].refused_count == 1

    run(scenario())


@pytest.mark.parametrize("is_slow", [False, True])
def test_our_own_client_and_listener_understand_each_other(run: Run[None], is_slow: bool) -> None:
    async def scenario() -> None:
        door, hole = OpenDoor(is_slow=is_slow), Pigeonhole(mails(100))
        door.gate.set()
        async with listening(door) as (_, host, port):
            relay = Relay(host=host, port=port, helo="postroom.example")
            connections = Connections(relay, hole, hole, limit=3, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            await connections.close()
        assert hole.kinds() == [Outcome.ACCEPTED] * 100
        assert len({mail.forward_paths[0] for mail in door.mails}) == 100

    run(scenario())


def test_a_door_that_fails_gets_the_mail_offered_again(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(OpenDoor):
        async def content(self, session: Session, transaction: Transaction) -> Reply:
            raise LookupError("no database")

    async def scenario() -> None:
        async with visiting(Failing()) as guest:
            assert (await guest.send(b"x")).startswith(b"451 4.3.0 ")
            await guest.say(b"MAIL FROM:<a@b.example>\r\n")
            assert (await guest.say(b"RCPT TO:<broken@demo.example>\r\n")).startswith(b"451 4.3.0 ")

    with caplog.at_level(logging.ERROR):
        run(scenario())
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_421_from_the_door_is_the_last_word(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.begin()
            guest.write(b"RCPT TO:<busy@demo.example>\r\nNOOP\r\n")
            assert await guest.all() == b"421 4.3.2 Busy\r\n"

    run(scenario())


def test_a_door_may_hang_up_without_a_word(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.begin()
            guest.write(b"RCPT TO:<hangup@demo.example>\r\n")
            assert await guest.all() == b""

    run(scenario())


def test_optional_hooks_hear_the_sender_and_the_data_command(run: Run[None]) -> None:
    class Choosy(OpenDoor):
        def sender(self, session: Session, reverse_path: str, size: int | None) -> Reply:
            refusal = Reply(550, None, f"not {reverse_path} with {size}")
            return OK if reverse_path != "eve@example.org" else refusal

        async def data(self, session: Session, transaction: Transaction) -> Reply:
            return Reply(554, None, "two at most") if len(transaction.forward_paths) > 2 else OK

    async def scenario() -> None:
        async with visiting(Choosy()) as guest:
            await guest.hear()
            await guest.say(b"EHLO guest.example\r\n")
            answer = await guest.say(b"MAIL FROM:<eve@example.org> SIZE=77\r\n")
            assert answer == b"550 not eve@example.org with 77\r\n"
            assert (await guest.say(b"RCPT TO:<a@demo.example>\r\n")).startswith(b"503 ")
        async with visiting(Choosy()) as guest:
            await guest.begin(3)
            assert await guest.say(b"DATA\r\n") == b"554 two at most\r\n"
        async with visiting(Choosy()) as guest:
            assert (await guest.send(b"x")).startswith(b"250 ")

    run(scenario())


def test_rset_and_ehlo_end_the_transaction(run: Run[None]) -> None:
    async def scenario() -> None:
        for ending in (b"RSET\r\n", b"EHLO again.example\r\n"):
            async with visiting(OpenDoor()) as guest:
                await guest.begin()
                assert (await guest.say(b"MAIL FROM:<b@b.example>\r\n")).startswith(b"503 ")
                await guest.say(ending)
                assert (await guest.say(b"DATA\r\n")).startswith(b"503 ")
                assert (await guest.say(b"MAIL FROM:<b@b.example>\r\n")).startswith(b"250 ")

    run(scenario())


def test_data_without_a_valid_recipient_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            await guest.begin(0)
            await guest.say(b"RCPT TO:<nobody@demo.example>\r\n")
            assert (await guest.say(b"DATA\r\n")).startswith(b"554 5.5.1 ")

    run(scenario())


def test_stopping_lets_a_mail_under_way_finish(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor(is_slow=True)
        door.gate.set()
        async with listening(door) as (listener, host, port):
            async with calling(host, port) as idle, calling(host, port) as guest:
                await idle.hear()
                await guest.begin()
                await guest.say(b"DATA\r\n")
                stopping = asyncio.ensure_future(listener.stop(2))
                assert (await idle.hear()).startswith(b"421 4.3.2 ")
                assert await guest.say(b"x\r\n.\r\n") == b"250 2.0.0 Taken\r\n"
                assert (await guest.hear()).startswith(b"421 4.3.2 ")
                await stopping
            with pytest.raises(OSError, match="onnect"):
                await asyncio.open_connection(host, port)
        assert len(door.mails) == 1

    run(scenario())


def test_stopping_cuts_what_does_not_finish(run: Run[None]) -> None:
    async def scenario() -> None:
        door = OpenDoor(is_slow=True)
        async with listening(door) as (listener, host, port), calling(host, port) as guest:
            await guest.hear()
            guest.write(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@demo.example>\r\n")
            await guest.hear()
            await listener.stop(0.02)
            assert not listener.visitors
            assert not listener.peers

    run(scenario())


def test_a_client_that_leaves_while_the_door_thinks_does_not_undo_the_decision(run: Run[None]) -> None:
    class Committing(OpenDoor):
        async def slowly(self, answer: Reply) -> Reply:
            await self.gate.wait()
            self.asked.append("committed")
            return answer

    async def scenario() -> None:
        door = Committing(is_slow=True)
        async with listening(door) as (listener, host, port):
            async with calling(host, port) as guest:
                await guest.hear()
                guest.write(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@demo.example>\r\n")
                while not door.asked:
                    await asyncio.sleep(0.001)
            while listener.visitors:
                await asyncio.sleep(0.001)
            door.gate.set()
            while listener.thinking:
                await asyncio.sleep(0.001)
        assert door.asked[-1] == "committed"

    run(scenario())


def test_limits_have_sane_defaults() -> None:
    limits = ListenerLimits()
    assert limits.held_octets >= limits.content_octets
    assert limits.connections > limits.connections_per_peer


def test_a_guest_hears_nothing_after_quit(run: Run[None]) -> None:
    async def scenario() -> None:
        async with visiting(OpenDoor()) as guest:
            assert isinstance(guest, Guest)
            await guest.hear()
            guest.write(b"QUIT\r\nNOOP\r\n")
            assert await guest.all() == b"221 2.0.0 Bye\r\n"

    run(scenario())
