"""What each step of a connection test found, in words for the administrator, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from postroom.smtp.probe import Cause, Probed, ProbeState, ProbeStep
from postroom.smtp.relay import Relay, Security

Words = str | Promise
TLS_PORT = 465
_ASK_PROVIDER = _("Ask the provider of the server, with its words from above.")
_LATER = _("Nothing is wrong with the settings. Test again in a few minutes.")
_CHECK_PORT = _(
    "Compare host name, port and encryption with what the provider says: usually SSL/TLS with port 465, or "
    "TLS (STARTTLS) with port 587 or 2525."
)

_WELL: Mapping[ProbeStep, Words] = {
    ProbeStep.DNS: _("%(host)s is at %(addresses)s."),
    ProbeStep.CONNECT: _("Port %(port)s answers."),
    ProbeStep.GREETING: _("It is a mail server, and it greets us."),
    ProbeStep.TLS: _("Encrypted with %(version)s. The certificate of %(subject)s holds until %(until)s."),
    ProbeStep.AUTH: _("It lets us in."),
    ProbeStep.MAIL: _("It takes mail from %(reverse_path)s."),
    ProbeStep.RCPT: _("It takes mail for %(forward_path)s."),
}

_Found = tuple[ProbeStep | None, Cause]

#: What happened and what to do, by step and cause; without a step, for every step.
_WORDS: Mapping[_Found, tuple[Words, Words]] = {
    (None, Cause.NOT_REACHED): (_("Not tried, because a step before it failed."), ""),
    (ProbeStep.TLS, Cause.NOT_ASKED_FOR): (
        _("No encryption is set: everything goes over the line as it is, readable on the way."),
        _("Choose TLS (STARTTLS) or SSL/TLS if the server offers it."),
    ),
    (ProbeStep.AUTH, Cause.NOT_ASKED_FOR): (_("No username is set, so we do not log in."), ""),
    (None, Cause.UNKNOWN_HOST): (
        _("There is no host called “%(host)s”."),
        _("Correct the host name; it looks like smtp.example.com, without https:// and without a port."),
    ),
    (None, Cause.NO_NAME_SERVER): (
        _("The name server did not answer, so “%(host)s” could not be looked up."),
        _("Test again in a minute. If it stays so, check the name server (DNS) of this machine."),
    ),
    (None, Cause.OUT_OF_REACH): (
        _(
            "Servers of a workspace may not lead to “%(host)s”, port %(port)s: it is in a private network, "
            "or where Postroom itself or the shared relay is. Nothing was connected to."
        ),
        _(
            "Name a server in the open internet. For one in your own network ask an operator to name that "
            "network in POSTROOM_PRIVATE_NETWORKS."
        ),
    ),
    (None, Cause.CONNECTION_REFUSED): (
        _("The machine is there, but nothing listens on port %(port)s, or a firewall refuses it."),
        _CHECK_PORT,
    ),
    (None, Cause.NO_ROUTE): (
        _("There is no way from this machine to %(host)s."),
        _("Check the network and the firewall of this machine."),
    ),
    (None, Cause.TIMED_OUT): (
        _("The server did not answer in time."),
        _("Test again in a few minutes. If it stays so, ask the provider of the server."),
    ),
    (ProbeStep.CONNECT, Cause.TIMED_OUT): (
        _("Nothing answers on port %(port)s: something on the way drops what we send."),
        _("Many hosts block port 25. Use port 465 with SSL/TLS, or 587 or 2525 with TLS (STARTTLS)."),
    ),
    (ProbeStep.GREETING, Cause.TIMED_OUT): (
        _("The port is open, but no mail server greets us there."),
        _CHECK_PORT,
    ),
    (ProbeStep.TLS, Cause.TIMED_OUT): (_("The server did not finish the TLS handshake."), _CHECK_PORT),
    (None, Cause.HUNG_UP): (
        _("The server ended the connection without a word."),
        _("It may block the address of this machine, or be busy. Test again, then ask its provider."),
    ),
    (ProbeStep.TLS, Cause.HUNG_UP): (
        _("The server ended the connection during the TLS handshake."),
        _("It may speak no TLS on this port, or only dated versions of it. Try another port and encryption."),
    ),
    (None, Cause.NETWORK): (
        _("The network of this machine reports an error."),
        _("Check the network and the firewall of this machine, then test again."),
    ),
    (None, Cause.NOT_SMTP): (
        _("What answers there is no mail server."),
        _("Correct the host name or the port; mail servers listen on 465, 587, 2525 or 25."),
    ),
    (None, Cause.BUSY): (_("The server asks us to come back later."), _LATER),
    (ProbeStep.AUTH, Cause.BUSY): (_("The server cannot check the login at the moment."), _LATER),
    (ProbeStep.RCPT, Cause.BUSY): (
        _("The server asks us to come back later, as some do with everybody they do not know (greylisting)."),
        _("Test again in a few minutes. Mail is not lost by this: it is tried again by itself."),
    ),
    (None, Cause.TURNED_AWAY): (
        _("The server does not want to talk to us."),
        _("It may block the network address of this machine. Ask its provider to let it in."),
    ),
    (None, Cause.NO_STARTTLS): (
        _("The server does not offer STARTTLS, so nothing was sent in clear."),
        _("Choose SSL/TLS with port 465. Choose no encryption only for a server in your own network."),
    ),
    (None, Cause.STARTTLS_REFUSED): (
        _("The server offers STARTTLS and then refuses it."),
        _("Try again later, or choose SSL/TLS with port 465."),
    ),
    (None, Cause.NOT_TLS): (
        _("Port %(port)s does not begin with TLS."),
        _("Choose TLS (STARTTLS), or port 465 for SSL/TLS."),
    ),
    (None, Cause.TLS_PROTOCOL): (
        _("The server and we have no version of TLS, or no cipher, in common."),
        _("TLS 1.2 at least is needed. Have the server brought up to date, or use another one."),
    ),
    (None, Cause.TLS_SETTINGS): (
        _("Our own certificate or its key cannot be used."),
        _("Paste both anew, as PEM. They must belong together, and the key must have no password."),
    ),
    (None, Cause.CERTIFICATE_WANTED): (
        _("The server wants a certificate from us, and does not accept what it got."),
        _("Choose “SSL Certificate” and paste the certificate and the key that the server knows."),
    ),
    (None, Cause.UNTRUSTED): (
        _("Nobody whom this machine trusts vouches for the certificate of %(host)s."),
        _(
            "Have the server given a certificate of a public authority. For a server of your own you can "
            "switch “Check the certificate” off; then anybody on the way could pretend to be it."
        ),
    ),
    (None, Cause.WRONG_NAME): (
        _("The certificate belongs to another host than %(host)s."),
        _("Use the host name that the certificate is made out to, as the provider writes it."),
    ),
    (None, Cause.EXPIRED): (
        _("The certificate of %(host)s has expired."),
        _("Have the provider of the server renew it. If it is valid, check the clock of this machine."),
    ),
    (None, Cause.NOT_YET_VALID): (
        _("The certificate of %(host)s is not valid yet."),
        _("Check the clock of this machine; else ask the provider of the server."),
    ),
    (None, Cause.EXPIRES_SOON): (
        _("Encrypted with %(version)s. The certificate of %(subject)s expires on %(until)s."),
        _("Have it renewed before that day: afterwards no mail leaves through this server."),
    ),
    (None, Cause.UNCHECKED): (
        _(
            "Encrypted with %(version)s, but the certificate of %(subject)s (until %(until)s) was not "
            "checked: it may be anybody's."
        ),
        _("Switch “Check the certificate” on, unless the server is your own."),
    ),
    (None, Cause.NO_AUTH): (
        _("The server offers no login that we know, here."),
        _("Many offer it only when encrypted: choose SSL/TLS or TLS (STARTTLS). Else use no username."),
    ),
    (None, Cause.IN_CLEAR): (
        _("It lets us in, but the password went over the line unencrypted."),
        _("Choose SSL/TLS or TLS (STARTTLS), unless the server is in your own network."),
    ),
    (None, Cause.NEEDS_TLS): (
        _("The server wants an encrypted connection first."),
        _("Choose TLS (STARTTLS) with port 587, or SSL/TLS with port 465."),
    ),
    (None, Cause.WRONG_PASSWORD): (
        _("The server does not accept the username or the password."),
        _("Enter both anew. Some providers want an API key or an app password here."),
    ),
    (None, Cause.APP_PASSWORD): (
        _("The server wants another kind of login than this password."),
        _("Make an app password with the provider and enter it here, or choose OAuth 2.0."),
    ),
    (None, Cause.NO_TOKEN): (
        _("The OAuth 2.0 provider gave us no token."),
        _("Check its client id, secret and token address, or allow access with the provider once more."),
    ),
    (None, Cause.TOKEN_REFUSED): (
        _("The server does not accept the token of the OAuth 2.0 provider."),
        _("Check that the username is the mailbox that gave access, and that access to SMTP is allowed."),
    ),
    (None, Cause.AUTH_REQUIRED): (
        _("The server wants us to log in before it takes mail."),
        _("Enter username and password."),
    ),
    (None, Cause.AUTH_REFUSED): (_("The server refuses the login."), _ASK_PROVIDER),
    (None, Cause.ADDRESS_UNUSABLE): (
        _("The address %(reverse_path)s cannot be written into an SMTP command here."),
        _("Correct FROM Filtering, or the local parts of the mail domain."),
    ),
    (None, Cause.SENDER_REFUSED): (
        _("The server does not let us send from %(reverse_path)s."),
        _(
            "Have this address or its domain verified with the provider, or name in FROM Filtering what the "
            "server does let us send from."
        ),
    ),
    (None, Cause.RELAY_DENIED): (
        _("The server does not pass mail on for us."),
        _("Enter username and password, or have the server allow the network address of this machine."),
    ),
    (None, Cause.RECIPIENT_REFUSED): (
        _("The server takes mail from us, but none for the test address %(forward_path)s."),
        _("Read its words: if it only does not know this mailbox, other mail may still go out."),
    ),
}  # fmt: skip


def words_and_remedy(found: Probed, relay: Relay, reverse_path: str, forward_path: str) -> tuple[str, str]:
    """What a step found and what to do next ("" if nothing), in the reader's language."""
    known = {
        "host": relay.host,
        "port": relay.port,
        "addresses": ", ".join(found.addresses),
        "reverse_path": reverse_path,
        "forward_path": forward_path,
        **_certificate(found),
    }
    if found.state is ProbeState.OK:
        return str(_WELL[found.step]) % known, ""
    words, remedy = _WORDS.get((found.step, found.cause)) or _WORDS[None, found.cause]
    if _is_tls_missing(found, relay):
        remedy = _("Port 465 begins with TLS: choose SSL/TLS.")
    return str(words) % known, str(remedy)


def _certificate(found: Probed) -> dict[str, str]:
    shown = found.certificate
    if shown is None:
        return {}
    until = date_format(shown.expires_at, "DATE_FORMAT")
    return {"version": shown.tls_version, "subject": shown.subject, "until": until}


def _is_tls_missing(found: Probed, relay: Relay) -> bool:
    is_mute = found.step is ProbeStep.GREETING and found.cause in (Cause.TIMED_OUT, Cause.HUNG_UP)
    return is_mute and relay.port == TLS_PORT and relay.security is not Security.TLS
