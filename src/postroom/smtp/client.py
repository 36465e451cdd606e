"""The pipelined client: many mails over few kept connections to one relay.

A relay that announces PIPELINING gets the content of one mail and the MAIL, RCPT and DATA of the next in one
write (RFC 2920), so that a mail costs one round trip.
"""

from __future__ import annotations

from postroom.smtp.errors import MailError, OutcomeUnknown, RelayUnreachable
from postroom.smtp.mail import Feed, Journal, MailObject, Settled
from postroom.smtp.pool import Connections
from postroom.smtp.relay import RFC5321_TIMEOUTS, Relay, Security, Timeouts
from postroom.wire.reply import Outcome, Reply

__all__ = [
    "RFC5321_TIMEOUTS",
    "Connections",
    "Feed",
    "Journal",
    "MailError",
    "MailObject",
    "OutcomeUnknown",
    "Relay",
    "RelayUnreachable",
    "Security",
    "Settled",
    "Timeouts",
    "transmit",
]


class _One:
    """Feed and journal of a single mail."""

    def __init__(self, mail: MailObject) -> None:
        self.mails = [mail]
        self.outcome: Settled | None = None

    def next(self) -> MailObject | None:
        return self.mails.pop() if self.mails else None

    def settled(self, settled: Settled) -> None:
        self.outcome = settled

    def begun(self, key: int) -> None:
        """A single mail's caller is still there to hear the outcome; nothing to note."""

    def replied(self, key: int, reply: Reply) -> None:
        """See `begun`."""


async def transmit(mail: MailObject, relay: Relay, timeouts: Timeouts = RFC5321_TIMEOUTS) -> Reply:
    """Hand one mail object to a relay in one mail transaction and return the deciding reply.

    The deciding reply is the first that ends the matter: a 4yz or 5yz to MAIL, RCPT or DATA, or whatever
    answers the final dot (RFC 5321 §3.3). A mail object has exactly one forward-path, so one reply settles
    it. A refusal is returned, never raised.

    `mail.content` is octets with CRLF line ends; dot-stuffing happens here. `timeouts` are seconds per phase.

    Raises
        RelayUnreachable: no connection, no greeting, TLS or AUTH failed, or the connection ended before the
            content (step "mail"). Nothing was handed over; any relay may be tried at once.
        OutcomeUnknown: the connection ended between the final dot and its reply. The relay may have taken the
            mail; trying again can deliver it twice (RFC 1047).
    """
    one = _One(mail)
    connections = Connections(relay, one, one, limit=1, timeouts=timeouts)
    await connections.start()
    try:
        await connections.drained()
    finally:
        await connections.close()
    return _reply_or_raise(one.outcome, connections.failure)


def _reply_or_raise(outcome: Settled | None, failure: RelayUnreachable | None) -> Reply:
    if outcome is not None and outcome.outcome is Outcome.UNCERTAIN:
        raise OutcomeUnknown
    if outcome is None or outcome.outcome is Outcome.UNREACHABLE or outcome.reply is None:
        message = "The connection ended before the content was sent."
        raise failure or RelayUnreachable(message, step="mail")
    return outcome.reply
