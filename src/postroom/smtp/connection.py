"""One kept connection to a relay: the dialogue of one mail after the other, pipelined if the relay can."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Protocol

from postroom.smtp.mail import MailObject, Settled
from postroom.smtp.offers import Offers
from postroom.smtp.relay import Timeouts
from postroom.smtp.replies import AskingProtocol, parsed
from postroom.wire.reply import Outcome, Reply

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class Owner(Protocol):
    """The pool a connection belongs to."""

    def take(self) -> MailObject | None: ...
    def begun(self, key: int) -> bool: ...
    def replied(self, key: int, reply: Reply) -> None: ...
    def settle(self, settled: Settled) -> None: ...
    def rested(self) -> None: ...
    def lost(self, connection: Connection, left: MailObject | None) -> None: ...


def on_the_wire(content: bytes) -> bytes:
    """Return content dot-stuffed and closed by CRLF, ready for the final dot (RFC 5321 §4.5.2).

    A dot after a bare CR or LF could end the mail for a careless relay; such content gets CRLF line ends.
    """
    if content.rfind(b"\n.") >= 0 or content.rfind(b"\r.") >= 0:  # rfind: twice as fast as `in` here
        if BARE.search(content):
            content = BARE.sub(b"\r\n", content)
        content = content.replace(b"\r\n.", b"\r\n..")
    if content[:1] == b".":
        content = b"." + content
    return content if content[-2:] == b"\r\n" or not content else content + b"\r\n"


class Connection(AskingProtocol):
    """Takes mails from its owner and settles them; `expects` is what the next reply answers.

    `current` has its MAIL command on the way, `handed` its content. A relay with PIPELINING may have one of
    each. While neither exists the connection `is_idle`.
    """

    def __init__(self, owner: Owner, timeouts: Timeouts) -> None:
        super().__init__()
        self.owner = owner
        self.timeouts = timeouts
        self.offers = Offers()
        self.current: MailObject | None = None
        self.current_since = self.handed_since = 0.0
        self.handed: MailObject | None = None
        self.refusal: list[bytes] = []
        self.needs_reset = self.is_tls = self.is_idle = self.is_open = False
        self.answered_count = 0
        self.deadline = math.inf
        self.unsent_octets = 0
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin with mails: the relay has let us in."""
        self.is_open = True
        self.check_deadline()
        self.proceed()

    # Mails. The hot path: one write and one read per mail.

    def proceed(self) -> None:
        """Begin the next mail, or rest until the owner says that there is more."""
        mail = self.next_mail()
        if mail is None:
            self.expects, self.deadline = self.unasked, math.inf
            self.is_idle = True
            self.owner.rested()
            return
        self.is_idle = False
        self.current = mail
        self.transport.write(self.envelope(mail))
        self.expects = self.reset_answered if self.needs_reset else self.mail_answered
        self.needs_reset = False

    def next_mail(self) -> MailObject | None:
        while not self.is_over and (mail := self.owner.take()) is not None:
            objection = self.offers.objection(mail)
            if objection is None:
                return mail
            self.owner.settle(Settled(mail.key, objection.outcome, objection, 0.0, self.is_tls, False))
        return None

    def envelope(self, mail: MailObject) -> bytes:
        """Return what opens the mail transaction: all of it with PIPELINING, else its first command."""
        self.current_since = self.loop.time()
        if self.handed is None:
            self.deadline = self.current_since + self.timeouts.command
        if not self.offers.pipelining:
            return b"RSET\r\n" if self.needs_reset else self.mail_command(mail)
        return b"%bMAIL FROM:<%b>%b\r\nRCPT TO:<%b>\r\nDATA\r\n" % (
            b"RSET\r\n" if self.needs_reset else b"",
            mail.reverse_path,
            self.offers.parameters(mail),
            mail.forward_path,
        )

    def mail_command(self, mail: MailObject) -> bytes:
        return b"MAIL FROM:<%b>%b\r\n" % (mail.reverse_path, self.offers.parameters(mail))

    def reset_answered(self, code: int, lines: list[bytes]) -> None:
        assert self.current is not None
        if code == 421:
            return self.dismissed(lines)
        self.expects = self.mail_answered
        if not self.offers.pipelining:
            self.transport.write(self.mail_command(self.current))
        return None

    def mail_answered(self, code: int, lines: list[bytes]) -> None:
        assert self.current is not None
        if code == 421:
            return self.dismissed(lines)
        self.expects = self.rcpt_answered
        if code >= 300:
            return self.refused_early(lines)
        if not self.offers.pipelining:
            self.transport.write(b"RCPT TO:<%b>\r\n" % self.current.forward_path)
        return None

    def rcpt_answered(self, code: int, lines: list[bytes]) -> None:
        self.expects = self.data_answered
        if code == 421:
            return self.dismissed(self.refusal or lines)
        if code >= 300:
            return self.refused_early(lines)
        if not self.offers.pipelining:
            self.transport.write(b"DATA\r\n")
            self.deadline = self.loop.time() + self.timeouts.data
        return None

    def refused_early(self, lines: list[bytes]) -> None:
        """Note the first refusal. With PIPELINING the replies to the rest of the group are still to come."""
        self.refusal = self.refusal or lines
        if not self.offers.pipelining:
            self.refused()

    def data_answered(self, code: int, lines: list[bytes]) -> None:
        if code == 354:
            return self.send_nothing() if self.refusal else self.send_content()
        if code == 421 or code < 400:  # a 2yz or another 3yz: the relay is out of step, nothing was sent
            return self.dismissed(self.refusal or lines)
        self.refusal = self.refusal or lines
        return self.refused()

    def refused(self) -> None:
        """Settle the current mail by its refusal; its mail transaction may still be open over there."""
        self.settle_current(self.refusal)
        self.needs_reset = True
        self.proceed()

    def settle_current(self, lines: list[bytes]) -> None:
        assert self.current is not None
        mail, self.current, self.refusal = self.current, None, []
        reply = parsed(lines)
        seconds = self.loop.time() - self.current_since
        self.answered_count += 1
        self.owner.settle(Settled(mail.key, _not_accepted(reply), reply, seconds, self.is_tls, False))

    def send_nothing(self) -> None:
        """End a transaction without a recipient, whose content the relay asks for all the same: a dot."""
        self.settle_current(self.refusal)
        self.transport.write(b".\r\n")
        self.expects = self.nothing_answered
        self.deadline = self.loop.time() + self.timeouts.final_dot

    def nothing_answered(self, code: int, lines: list[bytes]) -> None:
        if code == 421:
            return self.close()
        return self.proceed()

    def send_content(self) -> None:
        """Write content and final dot, and with PIPELINING the envelope of the next mail behind it."""
        mail = self.current
        assert mail is not None
        if not self.owner.begun(mail.key):
            return
        self.handed, self.handed_since, self.current = mail, self.current_since, None
        self.deadline = self.loop.time() + self.timeouts.final_dot
        self.expects = self.dot_answered
        self.is_same_chunk = True
        content = mail.content if mail.is_stuffed else on_the_wire(mail.content)
        if self.offers.pipelining and (following := self.next_mail()) is not None:
            self.current = following
            self.transport.write(b"%b.\r\n%b" % (content, self.envelope(following)))
        elif self.is_over:  # asking for the next mail ended everything; this one was not written
            self.handed, self.current = None, mail
        else:
            self.transport.write(b"%b.\r\n" % content)

    def dot_answered(self, code: int, lines: list[bytes]) -> None:
        mail = self.handed
        assert mail is not None
        reply = parsed(lines)
        if 300 <= code < 400 or (code < 300 and self.is_premature()):
            return self.unclear(reply)
        self.handed, self.expects = None, self.mail_answered
        self.answered_count += 1
        now = self.loop.time()
        self.owner.replied(mail.key, reply)
        seconds = now - self.handed_since
        self.owner.settle(Settled(mail.key, reply.outcome, reply, seconds, self.is_tls, True))
        if code == 421 or self.is_same_chunk:
            return self.close()
        if self.current is None:
            return self.proceed()
        self.deadline = now + self.timeouts.command
        return None

    def is_premature(self) -> bool:
        """Return whether an acceptance came before the relay can have seen the final dot.

        It came in the same piece as the 354, or more than the next envelope is still here unsent.
        """
        return self.is_same_chunk or self.transport.get_write_buffer_size() > 4096

    # Endings.

    def unasked(self, code: int, lines: list[bytes]) -> None:
        """A relay that speaks while nothing is asked is about to close (421), or out of step."""
        self.close()

    def dismissed(self, lines: list[bytes]) -> None:
        """Settle the current mail by these lines and leave, as after 421 (RFC 5321 §3.8).

        A kept connection told so before the mail's first answer was merely old: its mail goes back.
        """
        if not (self.is_stale() and lines[0][:3] == b"421"):
            self.settle_current(lines)
        self.close()

    def is_stale(self) -> bool:
        return self.answered_count > 0 and self.expects in (self.reset_answered, self.mail_answered)

    def garbled(self, lines: list[bytes]) -> None:
        if not self.is_open:
            return super().garbled(lines)
        if self.handed is not None:
            return self.unclear(parsed(lines))
        if self.current is not None:
            self.settle_current(self.refusal or lines)
        return self.abort()

    def unclear(self, reply: Reply) -> None:
        """Settle the handed mail as uncertain: what answers its final dot is no answer."""
        assert self.handed is not None
        mail, self.handed, self.expects = self.handed, None, self.mail_answered
        self.answered_count += 1
        seconds = self.loop.time() - self.handed_since
        self.owner.settle(Settled(mail.key, Outcome.UNCERTAIN, reply, seconds, self.is_tls, True))
        self.abort()

    def check_deadline(self) -> None:
        """Compare the clock with the deadline now and then, so that a mail costs no timer of its own."""
        now = self.loop.time()
        unsent = self.transport.get_write_buffer_size()
        if unsent != self.unsent_octets and self.handed is not None:
            self.deadline = now + (self.timeouts.block if unsent else self.timeouts.final_dot)
            self.unsent_octets = unsent
        if now >= self.deadline:
            self.abort()
        else:
            self.timer = self.loop.call_later(self.timeouts.check_seconds(), self.check_deadline)

    def take_leave(self) -> None:
        """Say QUIT and close without waiting for the answer; for an idle connection."""
        self.transport.write(b"QUIT\r\n")
        self.close()

    def quit(self) -> None:
        """Take leave of an idle connection; the relay closes it."""
        self.is_idle = False
        self.transport.write(b"QUIT\r\n")
        self.expects = self.quit_answered

    def quit_answered(self, code: int, lines: list[bytes]) -> None:
        self.close()

    def close(self) -> None:
        self.is_idle = False
        self.deadline = self.loop.time() + self.timeouts.quit
        super().close()

    def abort(self) -> None:
        self.is_idle = False
        super().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what was on the way: uncertain between final dot and reply, not begun before."""
        self.is_idle = False
        super().connection_lost(exc)
        if self.timer is not None:
            self.timer.cancel()
        self.settle_lost()

    def settle_lost(self) -> None:
        handed, self.handed = self.handed, None
        left, self.current = self.current, None
        now = self.loop.time()
        is_bystander = handed is not None or (left is not None and self.is_stale())
        if handed is not None:
            seconds = now - self.handed_since
            self.owner.settle(Settled(handed.key, Outcome.UNCERTAIN, None, seconds, self.is_tls, True))
        if left is not None and not is_bystander:
            seconds = now - self.current_since
            self.owner.settle(Settled(left.key, Outcome.UNREACHABLE, None, seconds, self.is_tls, False))
        if self.is_open:
            self.owner.lost(self, left if is_bystander else None)


def _not_accepted(reply: Reply) -> Outcome:
    """What ends a mail before its content is never an acceptance, whatever its code."""
    return reply.outcome if reply.outcome is Outcome.REFUSED else Outcome.DEFERRED
