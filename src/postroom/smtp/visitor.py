"""One connection to our listener: commands in order, content up to the one true end of data."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from postroom.smtp import canned
from postroom.smtp.commands import TOO_BIG, read_mail, read_rcpt
from postroom.smtp.door import Answer, Door, HangUp, ListenerLimits, Session, Transaction
from postroom.wire.reply import Outcome, Reply

log = logging.getLogger("postroom.smtp")

CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
END_OF_DATA = b"\r\n.\r\n"
LINGER_SECONDS = 1.0
NEVER = (b"STARTTLS", b"AUTH", b"EXPN", b"BDAT", b"PROXY", b"XCLIENT", b"XFORWARD", b"TURN", b"ETRN", b"LHLO")
WEB = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"HOST:")


class House(Protocol):
    """The listener a visitor came to."""

    door: Door
    limits: ListenerLimits
    hello: bytes
    greeting: bytes
    held_octets: int
    is_stopping: bool

    def admit(self, visitor: Visitor) -> bytes | None: ...
    def forget(self, visitor: Visitor) -> None: ...


class Visitor(asyncio.Protocol):
    """Reads commands and content, asks the door, writes replies in order.

    While the door thinks (`is_busy`) or the client does not read its replies, what arrives waits in `buffer`,
    and beyond a bound in the client's own socket.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.limits = house.limits
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.session: Session
        self.buffer = bytearray()
        self.replies: list[bytes] = []
        self.transaction: Transaction | None = None
        self.content: bytearray | None = None
        self.held_octets = self.content_octets = self.error_count = self.junk_count = 0
        self.discarded_octets = self.excess_count = 0
        self.is_oversized = self.has_no_room = False
        self.is_busy = self.is_paused = self.is_over = self.is_counted = False
        self.is_writable = True
        self.progress_at = self.loop.time()
        self.task: asyncio.Task[None] | None = None

    # In and out.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.session = Session(peer=peer[0] if peer else "", id=secrets.token_hex(6))
        refusal = self.house.admit(self)
        if refusal is None:
            self.transport.write(self.house.greeting)
        else:
            self.leave(refusal, lingers=False)

    def data_received(self, data: bytes) -> None:
        if not self.is_over:
            self.buffer += data
            self.advance()

    def advance(self) -> None:
        """Take lines and content from the buffer as long as nothing must be waited for."""
        while self.buffer and not (self.is_busy or self.is_over) and self.is_writable:
            if not (self.read_line() if self.content is None else self.read_content()):
                break
        self.flush()
        self.pause_or_resume()

    def flush(self) -> None:
        if self.replies:
            octets = b"".join(self.replies)
            self.replies.clear()
            if not self.transport.is_closing():
                self.transport.write(octets)

    def pause_or_resume(self) -> None:
        """Stop reading while more waits here than one bound, unless the connection is gone."""
        must_pause = len(self.buffer) > self.limits.buffer_octets
        if must_pause == self.is_paused or self.transport.is_closing():
            return
        self.is_paused = must_pause
        if must_pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self.advance()

    # Commands.

    def read_line(self) -> bool:
        """Take one line and answer it. Only CRLF ends a line; a bare LF ends it as an error."""
        end = self.buffer.find(b"\n")
        if end < 0:
            return self.wait_for_line()
        text = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        self.progress_at = self.loop.time()
        if self.discarded_octets or end > self.limits.line_octets:
            self.discarded_octets = 0
            self.wrong(canned.LINE_TOO_LONG)
        elif text[-1:] != b"\r" or CONTROL(text, 0, end - 1):
            self.wrong(canned.NOT_A_LINE)
        else:
            self.obey(text[:-1])
        return True

    def wait_for_line(self) -> bool:
        if len(self.buffer) > self.limits.line_octets:
            self.discarded_octets += len(self.buffer)
            self.buffer.clear()
            if self.discarded_octets > self.limits.buffer_octets:
                self.leave(canned.LINE_TOO_LONG)
        return False

    def obey(self, text: bytes) -> None:
        verb, _, argument = text.partition(b" ")
        verb = verb.upper()
        command = COMMANDS.get(verb)
        if command is not None:
            command(self, argument.strip(b" \t"))
        elif verb in WEB:  # a browser made to speak to us: its body may hold commands
            self.leave(canned.NOT_SMTP)
        else:
            self.wrong(canned.NOT_OFFERED if verb in NEVER else canned.UNKNOWN)

    def say(self, octets: bytes) -> None:
        self.replies.append(octets)

    def wrong(self, octets: bytes) -> None:
        """Answer an error; too many of them end the connection."""
        self.error_count += 1
        self.say(octets)
        if self.error_count > self.limits.errors:
            self.leave(canned.TOO_MANY_ERRORS)

    def junk(self, octets: bytes) -> None:
        """Answer a command that moves no mail; they are not endless either."""
        self.junk_count += 1
        self.say(octets)
        if self.junk_count > self.limits.junk:
            self.leave(canned.TOO_MANY_ERRORS)

    def ehlo(self, argument: bytes) -> None:
        self.greet(argument, self.house.hello)

    def helo(self, argument: bytes) -> None:
        self.greet(argument, self.house.hello.partition(b"\r\n")[0].replace(b"250-", b"250 ") + b"\r\n")

    def greet(self, argument: bytes, answer: bytes) -> None:
        if not argument or len(argument) > 255:
            return self.wrong(canned.NO_NAME)
        self.session.helo = argument.decode("ascii", "replace")
        self.forget_transaction()
        return self.junk(answer)

    def mail(self, argument: bytes) -> None:
        if not self.session.helo:
            return self.wrong(canned.HELO_FIRST)
        if self.transaction is not None:
            return self.wrong(canned.NESTED)
        command = read_mail(argument, self.limits.content_octets)
        if isinstance(command, bytes):
            return self.wrong(command)
        transaction = Transaction(
            command.reverse_path, declared_octets=command.size, is_smtputf8=command.is_smtputf8
        )

        def then(answer: Reply) -> None:
            if answer.outcome is Outcome.ACCEPTED:
                self.transaction = transaction
                self.session.reverse_path = transaction.reverse_path
            self.pass_on(answer)

        return self.ask_sender(command.reverse_path, command.size, then)

    def ask_sender(self, reverse_path: str, size: int | None, then: Callable[[Reply], None]) -> None:
        hook = getattr(self.house.door, "sender", None)
        if hook is None:
            return then(canned.OK_SENDER)
        return self.consult(lambda: hook(self.session, reverse_path, size), then)

    def rcpt(self, argument: bytes) -> None:
        transaction = self.transaction
        if transaction is None:
            return self.wrong(canned.MAIL_FIRST)
        forward_path = read_rcpt(argument, is_smtputf8=transaction.is_smtputf8)
        if isinstance(forward_path, bytes):
            return self.wrong(forward_path)
        if len(transaction.forward_paths) >= self.limits.recipients:
            return self.postpone()

        def then(answer: Reply) -> None:
            if answer.outcome is Outcome.ACCEPTED:
                transaction.forward_paths.append(forward_path)
            else:
                self.session.refused_count += 1
            self.pass_on(answer)

        return self.consult(lambda: self.house.door.recipient(self.session, forward_path), then)

    def postpone(self) -> None:
        """Answer a recipient beyond the limit: no error of the client's (RFC 5321 §4.5.3.1.10)."""
        self.excess_count += 1
        self.say(canned.TOO_MANY_RECIPIENTS)
        if self.excess_count > self.limits.excess_recipients:
            self.leave(canned.TOO_MANY_ERRORS)

    def data(self, argument: bytes) -> None:
        transaction = self.transaction
        if (
            self.buffer
        ):  # DATA ends a pipelined group (RFC 2920 §3.1); what follows could be taken for commands
            return self.leave(canned.CONTENT_TOO_EARLY)
        if argument:
            return self.wrong(canned.NO_ARGUMENT)
        if transaction is None:
            return self.wrong(canned.MAIL_FIRST)
        if not transaction.forward_paths:
            return self.wrong(canned.NO_RECIPIENT)
        hook = getattr(self.house.door, "data", None)
        if hook is None:
            return self.invite()
        return self.consult(lambda: hook(self.session, transaction), self.data_answered)

    def data_answered(self, answer: Reply) -> None:
        if answer.code >= 400:
            self.pass_on(answer)
        elif self.buffer:
            self.leave(canned.CONTENT_TOO_EARLY)
        else:
            self.invite()

    def invite(self) -> None:
        self.content = bytearray(b"\r\n")
        self.content_octets = 0
        self.is_oversized = self.has_no_room = False
        self.progress_at = self.loop.time()
        self.say(canned.INVITATION)

    def rset(self, argument: bytes) -> None:
        self.forget_transaction()
        self.junk(canned.OK)

    def forget_transaction(self) -> None:
        self.transaction, self.session.reverse_path = None, ""

    def noop(self, argument: bytes) -> None:
        self.junk(canned.OK)

    def help(self, argument: bytes) -> None:
        self.junk(canned.HELP)

    def vrfy(self, argument: bytes) -> None:
        self.junk(canned.CANNOT_VERIFY)

    def quit(self, argument: bytes) -> None:
        self.leave(canned.BYE, lingers=False)

    # Content.

    def read_content(self) -> bool:
        """Move what arrived into the content; return whether its end was found."""
        content = self.content
        assert content is not None
        start = max(0, len(content) - 4)
        content += self.buffer
        self.content_octets += len(self.buffer)
        self.hold(len(self.buffer))
        self.buffer.clear()
        end = content.find(END_OF_DATA, start)
        if end < 0:
            self.bound_content(content)
            return False
        self.buffer += content[end + 5 :]
        del content[end + 2 :]
        self.finish_content(bytes(content))
        return True

    def hold(self, octets: int) -> None:
        """Count the octets kept here into what all visitors hold together."""
        self.held_octets += octets
        self.house.held_octets += octets

    def bound_content(self, content: bytearray) -> None:
        """Beyond a limit keep only what is needed to see the end; beyond four times the limit, leave."""
        self.is_oversized = self.is_oversized or self.content_octets > self.limits.content_octets
        self.has_no_room = self.has_no_room or self.house.held_octets > self.limits.held_octets
        if self.is_oversized or self.has_no_room:
            del content[:-4]
            self.hold(-self.held_octets)
        if self.content_octets > 4 * self.limits.content_octets:
            self.leave(TOO_BIG)

    def finish_content(self, stuffed: bytes) -> None:
        assert self.content is not None
        transaction = self.transaction
        assert transaction is not None
        self.forget_transaction()
        self.release()
        octets = stuffed.replace(b"\r\n.", b"\r\n")[2:]
        self.progress_at = self.loop.time()
        if self.is_oversized or len(octets) > self.limits.content_octets:
            return self.wrong(TOO_BIG)
        if self.has_no_room:
            return self.wrong(canned.NO_ROOM)
        if not octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r"):
            return self.wrong(canned.BARE_LINE_END)
        transaction.content = octets
        return self.consult(lambda: self.house.door.content(self.session, transaction), self.content_answered)

    def release(self) -> None:
        """Give back the room of the content."""
        if self.content is not None:
            self.hold(-self.held_octets)
            self.content = None

    def content_answered(self, answer: Reply) -> None:
        if answer.outcome is Outcome.ACCEPTED:
            self.session.accepted_count += 1
            self.error_count = self.junk_count = self.excess_count = 0
        self.pass_on(answer)
        if self.house.is_stopping:
            self.leave(canned.CLOSING)

    # The door.

    def consult(self, ask: Callable[[], Answer], then: Callable[[Reply], None]) -> None:
        """Ask the door and go on with its reply, at once or when it comes."""
        try:
            answer = ask()
        except HangUp:
            return self.leave(b"")
        except Exception:  # the door is foreign code; its client gets 451 and tries again
            log.exception("The door failed for %s", self.session.peer)
            answer = canned.TROUBLE
        if isinstance(answer, Reply):
            return then(answer)
        self.is_busy = True
        self.task = self.loop.create_task(self.wait_for_door(answer, then))
        return None

    async def wait_for_door(self, answer: Awaitable[Reply], then: Callable[[Reply], None]) -> None:
        try:
            said = await answer
        except HangUp:
            self.leave(b"")
        except Exception:  # as in `consult`
            log.exception("The door failed for %s", self.session.peer)
            then(canned.TROUBLE)
        else:
            then(said)
        self.is_busy = False
        self.progress_at = self.loop.time()
        self.advance()

    def pass_on(self, answer: Reply) -> None:
        """Say the door's reply. Refusals count as errors, 421 is the last word."""
        if answer.code == 421:
            self.leave(answer.octets())
        elif answer.code >= 500:
            self.wrong(answer.octets())
        else:
            self.say(answer.octets())

    # Endings.

    def leave(self, last_words: bytes, *, lingers: bool = True) -> None:
        """Say the last words and close; whatever else arrives is ignored.

        Closing a socket with octets unread resets the connection, and the reset may overtake the last words.
        Whoever `lingers` closes its own direction first and reads on for a moment.
        """
        if self.is_over:
            return
        self.is_over = True
        self.say(last_words)
        self.flush()
        self.progress_at = self.loop.time()
        if not lingers or not last_words or self.transport.is_closing():
            self.transport.close()
            return
        self.buffer.clear()
        if self.is_paused:
            self.is_paused = False
            self.transport.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def check(self, now: float) -> None:
        """Cut a client that is silent, trickles, or does not go when told."""
        silent_seconds = now - self.progress_at
        if self.is_busy:
            return
        if self.is_over or not self.is_writable:
            if silent_seconds > min(self.limits.idle_seconds, 10.0):
                self.transport.abort()
        elif self.content is None:
            if silent_seconds > self.limits.idle_seconds:
                self.leave(canned.TOO_SLOW)
        elif self.is_trickling(silent_seconds):
            self.leave(canned.TOO_SLOW)

    def is_trickling(self, seconds: float) -> bool:
        """Return whether the content, begun this long ago, takes too long or comes too slowly."""
        if seconds > self.limits.data_seconds:
            return True
        is_slow = self.content_octets < seconds * self.limits.least_octets_per_second
        return is_slow and seconds > self.limits.slow_start_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what is unfinished. A door that is thinking may finish: its mail may already be stored."""
        self.is_over = True
        self.release()
        self.buffer.clear()
        self.house.forget(self)


COMMANDS: dict[bytes, Callable[[Visitor, bytes], None]] = {
    b"EHLO": Visitor.ehlo,
    b"HELO": Visitor.helo,
    b"MAIL": Visitor.mail,
    b"RCPT": Visitor.rcpt,
    b"DATA": Visitor.data,
    b"RSET": Visitor.rset,
    b"NOOP": Visitor.noop,
    b"HELP": Visitor.help,
    b"VRFY": Visitor.vrfy,
    b"QUIT": Visitor.quit,
}
