"""The built-in target: what each address makes it do, and that it loses nothing it answered."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from postroom.smtp.behaviour import TAKES, behaviour_for
from postroom.smtp.client import MailObject, OutcomeUnknown, Relay, RelayUnreachable, transmit
from postroom.smtp.target import Target, TargetStore
from postroom.wire.dsn import read_report
from postroom.wire.reply import Reply
from tests.smtp.conftest import Run
from tests.smtp.scripted import PATIENT

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONTENT = (
    b"From: Ana <ana@demo.example>\r\nReply-To: Sales <sales+abc@demo.example>\r\nSubject: Offre\r\n"
    b"Message-ID: <own@demo.example>\r\nReferences: <first@demo.example>\r\n\r\nHello\r\n"
)


@asynccontextmanager
async def target(store: TargetStore | None = None, *, seconds: float = 0.0) -> AsyncIterator[Mailer]:
    back: list[tuple[str, bytes]] = []

    async def deliver_back(forward_path: str, octets: bytes) -> None:
        back.append((forward_path, octets))

    built = Target(
        store or TargetStore(),
        deliver_back=deliver_back,
        late_bounce_seconds=seconds,
        auto_reply_seconds=seconds,
        clock=lambda: NOON,
    )
    host, port = await built.start("127.0.0.1", 0)
    try:
        yield Mailer(built, Relay(host=host, port=port, helo="postroom.example"), back)
    finally:
        await built.stop(0.05)


class Mailer:
    """Sends to the target and sees what it wrote back."""

    def __init__(self, built: Target, relay: Relay, back: list[tuple[str, bytes]]) -> None:
        self.target = built
        self.relay = relay
        self.back = back

    async def send(self, to: bytes, sender: bytes = b"bounce+t@demo.example") -> Reply:
        return await transmit(MailObject(1, sender, to, CONTENT), self.relay, PATIENT)

    async def wait_for_mail_back(self) -> tuple[str, bytes]:
        while not self.back:
            await asyncio.sleep(0.001)
        return self.back.pop(0)


def test_an_ordinary_address_takes_everything(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            assert str(await mailer.send(b"Ben@example.org")) == "250 2.0.0 Ok: queued as 00000001"
            [mail] = mailer.target.store.list()
            assert (mail.id, mail.received_at, mail.octets) == ("1", NOON, CONTENT)
            assert (mail.reverse_path, mail.forward_path) == ("bounce+t@demo.example", "Ben@example.org")
            assert (mail.helo, mail.peer) == ("postroom.example", "127.0.0.1")

    run(scenario())


@pytest.mark.parametrize(
    ("local_part", "code", "status"),
    [
        ("bounce-5.1.1", 550, "5.1.1"),
        ("BOUNCE-5.2.2", 550, "5.2.2"),
        ("bounce-4.4.7", 450, "4.4.7"),
        ("bounce-5.1.1+tag", 550, "5.1.1"),
        ("full", 452, "4.2.2"),
        ("busy", 421, "4.3.2"),
    ],
)
def test_an_address_can_ask_to_be_refused(run: Run[None], local_part: str, code: int, status: str) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            reply = await mailer.send(local_part.encode() + b"@anywhere.example")
            assert (reply.code, str(reply.enhanced)) == (code, status)
            assert mailer.target.store.count() == 0

    run(scenario())


def test_a_greylisted_address_takes_the_third_try_of_the_same_sender(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            senders = [b"a@one.example", b"b@one.example", b"c@two.example", b"d@ONE.example"]
            codes = [(await mailer.send(b"greylist-2@example.org", sender)).code for sender in senders]
            assert codes == [450, 450, 450, 250]
            assert (await mailer.send(b"greylist-1@example.org")).code == 450
            assert (await mailer.send(b"greylist-1@example.org")).code == 250

    run(scenario())


def test_a_slow_address_answers_after_its_seconds(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def no_time(seconds: float) -> None:
        waited.append(seconds)

    async def scenario() -> None:
        async with target() as mailer:
            with monkeypatch.context() as patch:
                patch.setattr("postroom.smtp.target.asyncio", _Sleepless(no_time))
                assert (await mailer.send(b"slow-30s@example.org")).code == 250
        assert waited == [30.0]

    run(scenario())


class _Sleepless:
    """asyncio with another sleep."""

    def __init__(self, sleep: object) -> None:
        self.sleep = sleep

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)


def test_dropping_after_the_content_keeps_the_mail_and_leaves_the_sender_uncertain(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            with pytest.raises(OutcomeUnknown):
                await mailer.send(b"drop-after-data@example.org")
            assert mailer.target.store.count() == 1

    run(scenario())


def test_dropping_before_the_content_keeps_nothing(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            with pytest.raises(RelayUnreachable):
                await mailer.send(b"drop-before-data@example.org")
            assert mailer.target.store.count() == 0

    run(scenario())


@pytest.mark.parametrize(
    ("local_part", "status"), [(b"late-bounce", "5.1.1"), (b"late-bounce-5.2.2", "5.2.2")]
)
def test_a_late_bounce_is_a_real_report_to_the_reverse_path(
    run: Run[None], local_part: bytes, status: str
) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            assert (await mailer.send(local_part + b"@example.org")).code == 250
            forward_path, octets = await mailer.wait_for_mail_back()
        assert forward_path == "bounce+t@demo.example"
        report = read_report(octets)
        assert report is not None
        assert [str(each.status) for each in report.recipients] == [status]
        assert report.recipients[0].final_recipient == local_part.decode() + "@example.org"
        assert report.original_message_id == "<own@demo.example>"

    run(scenario())


def test_a_vacation_reply_goes_to_reply_to_and_names_our_mail(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            await mailer.send(b"auto-reply@example.org")
            forward_path, octets = await mailer.wait_for_mail_back()
        answer = message_from_bytes(octets, policy=default)
        assert forward_path == answer["To"] == "sales+abc@demo.example"
        assert answer["From"] == "auto-reply@example.org"
        assert answer["Auto-Submitted"] == "auto-replied"
        assert answer["In-Reply-To"] == "<own@demo.example>"
        assert answer["References"] == "<first@demo.example> <own@demo.example>"
        assert answer["Subject"] == "Automatic reply: Offre"
        assert octets.count(b"\n") == octets.count(b"\r\n")

    run(scenario())


@pytest.mark.parametrize("local_part", [b"late-bounce", b"auto-reply"])
def test_nobody_answers_a_null_reverse_path(run: Run[None], local_part: bytes) -> None:
    async def scenario() -> None:
        async with target() as mailer:
            assert (await mailer.send(local_part + b"@example.org", b"")).code == 250
            while mailer.target.errands:
                await asyncio.sleep(0.001)
            assert mailer.back == []

    run(scenario())


def test_a_way_back_that_fails_is_logged(run: Run[None], caplog: pytest.LogCaptureFixture) -> None:
    async def broken(forward_path: str, octets: bytes) -> None:
        raise RelayUnreachable("no door", step="connect")

    async def scenario() -> None:
        async with target() as mailer:
            mailer.target.deliver_back = broken
            await mailer.send(b"late-bounce@example.org")
            while mailer.target.errands:
                await asyncio.sleep(0.001)

    run(scenario())
    assert "no door" in caplog.text


def test_stopping_drops_what_was_to_be_written_back(run: Run[None]) -> None:
    async def scenario() -> None:
        async with target(seconds=60) as mailer:
            await mailer.send(b"late-bounce@example.org")
        assert not mailer.target.errands
        assert mailer.back == []

    run(scenario())


@pytest.mark.parametrize(
    "forward_path",
    [
        "ana@bounce-5.1.1.example",
        "bounce@x.example",
        "bounce-6.1.1@x.example",
        "greylist-0@x.example",
        "slow-s@x.example",
        "fuller@x.example",
        "late-bounce-4.0.0@x.example",
        "postmaster",
    ],
)
def test_what_asks_for_nothing_gets_nothing_special(forward_path: str) -> None:
    assert behaviour_for(forward_path) is TAKES


@pytest.mark.parametrize("is_in_folder", [False, True])
def test_the_newest_mails_are_listed_first_and_by_address(tmp_path: Path, is_in_folder: bool) -> None:
    store = TargetStore(tmp_path / "target" if is_in_folder else None)
    for number in range(5):
        to = "ana@x.example" if number % 2 else "Ben@x.example"
        store.add(received_at=NOON, reverse_path="", forward_path=to, octets=b"%d" % number)
    assert [mail.octets for mail in store.list(3)] == [b"4", b"3", b"2"]
    assert [mail.octets for mail in store.list(9, "ben@x.example")] == [b"4", b"2", b"0"]
    found = store.get("2")
    assert found is not None
    assert found.octets == b"1"
    assert store.get("9") is None
    assert store.count() == 5
    store.close()


def test_looking_into_a_store_makes_no_folder(tmp_path: Path) -> None:
    assert TargetStore(tmp_path / "target").count() == 0
    assert not (tmp_path / "target").exists()


def test_a_folder_is_read_again_at_start_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    store = TargetStore(tmp_path)
    kept = store.add(received_at=NOON, reverse_path="r@x.example", forward_path="a@x.example", octets=b"one")
    store.close()
    with (tmp_path / "index.jsonl").open("ab") as index:
        index.write(b'{"id": "2", "recei')
    (tmp_path / "00000002.eml").write_bytes(b"never answered")
    again = TargetStore(tmp_path)
    assert again.list() == [kept]
    later = again.add(received_at=NOON, reverse_path="", forward_path="b@x.example", octets=b"three")
    again.close()
    assert later.id == "3"
    assert [mail.id for mail in TargetStore(tmp_path).list()] == ["3", "1"]


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from postroom.smtp.target import TargetStore
store = TargetStore(Path(sys.argv[1]))
while True:
    mail = dict(received_at=datetime.now(UTC), reverse_path="", forward_path="a@x.example")
    print(store.add(**mail, octets=b"x" * 5000).id, flush=True)
"""


def test_killing_the_process_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        answered = [writer.stdout.readline().strip().decode() for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        answered += [line.strip().decode() for line in writer.stdout.readlines() if line.endswith(b"\n")]
    store = TargetStore(tmp_path)
    assert store.count() in (len(answered), len(answered) + 1)
    assert all((found := store.get(number)) and len(found.octets) == 5000 for number in answered)
