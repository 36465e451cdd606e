"""What can be unknown or impossible on the way to a relay. A refusal is no error: it is a `Reply`."""

from __future__ import annotations

from postroom.wire.reply import Reply


class MailError(Exception):
    """The mail could not be handed over; see the relay's settings and the trail for the reason."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class RelayUnreachable(MailError):
    """The relay could not be reached; nothing was handed over, so any relay may be tried at once.

    `step` names where it ended: dns, connect, greeting, ehlo, tls, auth, or mail (a single mail's
    connection ended before its content was sent). `reply` is what the relay said there, None if it said
    nothing. `is_permanent` is True when only a change of settings can help (a 5yz reply, a host that does
    not exist, a certificate that does not hold).
    """

    def __init__(
        self, message: str = "", *, step: str, reply: Reply | None = None, is_permanent: bool = False
    ) -> None:
        super().__init__(message or f"The relay could not be reached (step: {step}).")
        self.step = step
        self.reply = reply
        self.is_permanent = is_permanent


class OutOfReach(RelayUnreachable):
    """The host is where this server may not lead. Nothing was connected to."""


class NoToken(RelayUnreachable):
    """No OAuth 2.0 access token could be had, so nobody logged in; the step is auth."""

    def __init__(self, message: str = "", *, is_permanent: bool = False) -> None:
        super().__init__(message, step="auth", is_permanent=is_permanent)


class OutcomeUnknown(MailError):
    """The connection ended between the final dot and its reply: the relay may have taken the mail.

    Trying again can deliver it twice (RFC 1047).
    """
