"""The pipelined client: many mails over few kept connections to one relay.

A relay that announces PIPELINING gets the content of one mail and the MAIL, RCPT and DATA of the next in one
write (RFC 2920), so that a mail costs one round trip.
"""

from __future__ import annotations

from postroom.smtp.errors import MailError, OutcomeUnknown, RelayUnreachable
from postroom.smtp.mail import Feed, Journal, MailObject, Settled
from postroom.smtp.relay import RFC5321_TIMEOUTS, Relay, Security, Timeouts

__all__ = [
    "RFC5321_TIMEOUTS",
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
]
