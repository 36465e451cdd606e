"""Why mail fails, in plain words: what happened, who must act, what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Words = str | Promise

NOBODY = _("Nobody")
YOU = _("You")
RECIPIENT = _("The recipient")
OPERATOR = _("The operator of Postroom")
ADMINISTRATOR = _("An administrator of the workspace")
DOMAIN_OWNER = _("Whoever looks after your domain's DNS")
THEIR_OPERATOR = _("The operator of the recipient's server")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `is_retry_useful`: may the same mail to the same address succeed if nothing is changed?"""

    id: str
    what_happened: Words
    who_must_act: Words
    next_step: Words
    is_retry_useful: bool = False


REASONS = (
    Reason(
        "user_unknown",
        _("There is no such mailbox at the recipient's server."),
        YOU,
        _("Check the address for a typing mistake, correct it and try again."),
    ),
    Reason(
        "mailbox_moved",
        _("The recipient has moved and left no new address with the server."),
        YOU,
        _("Ask the recipient for the new address, correct it and try again."),
    ),
    Reason(
        "mailbox_ambiguous",
        _("The address fits more than one mailbox, and the recipient's server does not choose between them."),
        YOU,
        _("Ask the recipient for the exact address and correct it."),
    ),
    Reason(
        "mailbox_disabled",
        _("The mailbox exists, but it has been switched off and takes no mail."),
        YOU,
        _("Ask the recipient in another way for an address that is in use, and correct it."),
    ),
    Reason(
        "mailbox_full",
        _("The recipient's mailbox is full."),
        RECIPIENT,
        _("Tell the recipient in another way to make room; then try again."),
        is_retry_useful=True,
    ),
    Reason(
        "domain_unknown",
        _("The part of the address after the @ does not exist, or takes no mail."),
        YOU,
        _("Check the domain for a typing mistake, correct the address and try again."),
    ),
    Reason(
        "address_invalid",
        _("This is not a valid email address."),
        YOU,
        _("Correct the address and try again."),
    ),
    Reason(
        "no_smtputf8",
        _("The mail server takes no address with letters beyond a to z (it does not offer SMTPUTF8)."),
        YOU,
        _("Ask for an address in plain letters, correct it and try again, or send through another server."),
    ),
    Reason(
        "sender_invalid",
        _("The recipient's server does not accept the sender's address."),
        OPERATOR,
        _("Check that the sender's domain exists and takes mail, then try again."),
    ),
    Reason(
        "sender_not_verified",
        _("The relay sends only from addresses that have been verified with it, and this sender's is not."),
        OPERATOR,
        _("Verify the From address or its domain with the provider of the relay, then try again."),
    ),
    Reason(
        "greylisted",
        _("The recipient's server asks every new sender to come back a little later (greylisting)."),
        NOBODY,
        _("Nothing: Postroom tries again by itself, and the second try usually succeeds."),
        is_retry_useful=True,
    ),
    Reason(
        "rate_limited",
        _("The server has had too much mail in a short time and asks for a slower pace."),
        NOBODY,
        _("Nothing: Postroom tries again by itself. If it happens every day, send less at once."),
        is_retry_useful=True,
    ),
    Reason(
        "relay_quota",
        _("The daily amount of mail that the relay allows is used up."),
        OPERATOR,
        _("Wait for the next day, or ask the provider of the relay for a higher limit."),
        is_retry_useful=True,
    ),
    Reason(
        "relay_denied",
        _("The server refuses to pass mail on to this recipient's domain."),
        OPERATOR,
        _("Check the user and password of the relay, and that it may send for this sender; then try again."),
    ),
    Reason(
        "recipient_relay_denied",
        _("The recipient's domain points to a server that does not take mail for it."),
        YOU,
        _("Check the domain of the address. If it is right, tell the recipient about their server."),
    ),
    Reason(
        "auth_required",
        _("The server wants a user name and a password before it takes mail."),
        OPERATOR,
        _("Put the user and the password of the relay into RELAY_URL, then try again."),
    ),
    Reason(
        "auth_failed",
        _("The relay does not accept the user name or the password."),
        OPERATOR,
        _("Correct the user and the password in RELAY_URL, then try again."),
    ),
    Reason(
        "tls_required",
        _("The server takes mail only over an encrypted connection."),
        OPERATOR,
        _("Use smtp+starttls:// or smtps:// in RELAY_URL, then try again."),
    ),
    Reason(
        "tls_failed",
        _("No encrypted connection to the server could be made."),
        OPERATOR,
        _("Check the certificate of the server and the host name in RELAY_URL, then try again."),
        is_retry_useful=True,
    ),
    Reason(
        "spf_failed",
        _("The recipient's server refuses the mail: your domain's SPF record does not allow our server."),
        DOMAIN_OWNER,
        _("Add the relay to the SPF record of the sender's domain, wait an hour and try again."),
    ),
    Reason(
        "dkim_failed",
        _("The recipient's server refuses the mail because its DKIM signature is missing or wrong."),
        DOMAIN_OWNER,
        _("Publish the DKIM key that your relay shows you for the sender's domain, then try again."),
    ),
    Reason(
        "dmarc_failed",
        _("The recipient's server refuses the mail because your domain's DMARC policy asks for it."),
        DOMAIN_OWNER,
        _("Set up SPF and DKIM for the domain in the From address, wait an hour and try again."),
    ),
    Reason(
        "unauthenticated",
        _("The recipient's server wants proof by SPF or DKIM that the mail comes from your domain."),
        DOMAIN_OWNER,
        _("Set up SPF and DKIM for the sender's domain, wait an hour and try again."),
    ),
    Reason(
        "reverse_dns",
        _("The sending server's network address has no matching name (reverse DNS)."),
        OPERATOR,
        _("Have the provider of the server set its reverse DNS, or send through a relay."),
    ),
    Reason(
        "blocklisted",
        _("The sending server's network address is on a block list."),
        OPERATOR,
        _("Look the address up at the list named below, ask to be removed, or send through another relay."),
    ),
    Reason(
        "spam",
        _("The recipient's server takes the mail for spam."),
        YOU,
        _("Write it in other words, with fewer links, or ask the recipient to allow your address."),
    ),
    Reason(
        "malware",
        _("The recipient's server found something dangerous in the mail or its attachment."),
        YOU,
        _("Send it again without the attachment, or as a link."),
    ),
    Reason(
        "content_refused",
        _("The recipient's server does not accept the form or the content of the mail."),
        YOU,
        _("Change the text or the attachments and send it again."),
    ),
    Reason(
        "too_big",
        _("The mail is larger than the recipient's server allows."),
        YOU,
        _("Send it again with smaller attachments, or with links in their place."),
    ),
    Reason(
        "sender_blocked",
        _("The recipient, or the recipient's server, has blocked this sender."),
        YOU,
        _("Ask the recipient in another way to allow your address."),
    ),
    Reason(
        "members_only",
        _("The address is a list or a group that takes mail only from its own people."),
        YOU,
        _("Ask the owner of the list to be let in, or write to a person."),
    ),
    Reason(
        "policy",
        _("The recipient's server refuses the mail because of its own rules."),
        YOU,
        _("Read the server's words below, and ask the recipient's operator if they do not help."),
    ),
    Reason(
        "mailing_list",
        _("The mailing list behind the address could not pass the mail on."),
        YOU,
        _("Tell the owner of the list."),
    ),
    Reason(
        "server_busy",
        _("The recipient's server cannot take mail just now."),
        NOBODY,
        _("Nothing: Postroom tries again by itself."),
        is_retry_useful=True,
    ),
    Reason(
        "server_misconfigured",
        _("The recipient's server is not set up to take this mail."),
        THEIR_OPERATOR,
        _("Tell the recipient in another way that their server answers as shown below."),
        is_retry_useful=True,
    ),
    Reason(
        "mail_loop",
        _("The mail went round in a circle between servers, because a forwarding leads back to itself."),
        THEIR_OPERATOR,
        _("Tell the recipient that their forwarding goes in a circle."),
    ),
    Reason(
        "routing_failed",
        _("No way to the recipient's server was found."),
        THEIR_OPERATOR,
        _("Check the domain of the address; if it is right, try again later."),
        is_retry_useful=True,
    ),
    Reason(
        "recipient_unreachable",
        _("The recipient's server did not answer."),
        THEIR_OPERATOR,
        _("Try again later; if it goes on, tell the recipient in another way."),
        is_retry_useful=True,
    ),
    Reason(
        "protocol_error",
        _("The two servers did not understand each other."),
        OPERATOR,
        _("Try again; if it goes on, look into the mail log and read the server's words below."),
        is_retry_useful=True,
    ),
    Reason(
        "timed_out",
        _("The server took too long to answer."),
        NOBODY,
        _("Nothing: Postroom tries again by itself."),
        is_retry_useful=True,
    ),
    Reason(
        "server_unreachable",
        _("The outgoing server could not be reached. The mail has not left Postroom."),
        OPERATOR,
        _(
            "Check that the server runs and that its settings (or RELAY_URL) are right. "
            "Postroom goes on trying."
        ),
        is_retry_useful=True,
    ),
    Reason(
        "unreached_too_long",
        _(
            "The outgoing server could not be reached until the time allowed was over. "
            "The mail has not left Postroom."
        ),
        OPERATOR,
        _("Check the outgoing server and its settings; once it is reached again, retry the mail."),
        is_retry_useful=True,
    ),
    Reason(
        "throttled",
        _("The outgoing server asked for less mail in a short time. The mail waits in Postroom."),
        NOBODY,
        _("Nothing: Postroom sends more slowly and goes on by itself. If it happens often, limit its rate."),
        is_retry_useful=True,
    ),
    Reason(
        "no_server",
        _("No outgoing server is set up. The mail waits in Postroom."),
        OPERATOR,
        _("Set RELAY_URL and start Postroom again; what waits leaves by itself."),
        is_retry_useful=True,
    ),
    Reason(
        "server_archived",
        _("The outgoing server that the mail was written for is archived. The mail waits in Postroom."),
        YOU,
        _("Bring the server back under Outgoing Servers, or cancel the email and write it again."),
        is_retry_useful=True,
    ),
    Reason(
        "daily_limit",
        _("The daily limit of the workspace was used up. The mail has not left Postroom."),
        YOU,
        _(
            "Retry after 23:00 UTC, or as soon as the limit is higher; a higher one is asked for under "
            "Plan and limit."
        ),
        is_retry_useful=True,
    ),
    Reason(
        "daily_limit_waits",
        _("The daily limit of the workspace is used up. The mail waits in Postroom."),
        NOBODY,
        _("Nothing: it leaves by itself after 23:00 UTC. To send more a day, ask for a higher limit."),
        is_retry_useful=True,
    ),
    Reason(
        "own_rate_limit",
        _("The outgoing server has had as many emails as are set for it in this time. The mail waits."),
        NOBODY,
        _("Nothing: it leaves by itself. An administrator sets the figures under Outgoing Servers."),
        is_retry_useful=True,
    ),
    Reason(
        "captured",
        _("Postroom was in capture mode, which kept the mail in. It has not left Postroom."),
        OPERATOR,
        _("End capture mode if this is the real installation, then retry what should go out."),
        is_retry_useful=True,
    ),
    Reason(
        "uncertain",
        _("The connection ended before the server said whether it took the mail. It may have arrived."),
        YOU,
        _("Ask the recipient. Retry only if it has not arrived: they would get it twice."),
        is_retry_useful=True,
    ),
    Reason(
        "expired",
        _("Postroom tried again and again until the time allowed was over, and gave up."),
        YOU,
        _("Read the server's last words below, then try again or reach the recipient in another way."),
        is_retry_useful=True,
    ),
    Reason(
        "cancelled",
        _("The email was cancelled before it was sent."),
        NOBODY,
        _("Nothing, unless it should go out after all: then retry it."),
        is_retry_useful=True,
    ),
    Reason(
        "accepted",
        _("The server took the mail."),
        NOBODY,
        _("Nothing."),
    ),
    Reason(
        "unknown_temporary",
        _("The server did not take the mail for now, and did not say why in a way Postroom knows."),
        NOBODY,
        _("Nothing for now: Postroom tries again by itself. The server's own words are below."),
        is_retry_useful=True,
    ),
    Reason(
        "unknown",
        _("The server refused the mail, and did not say why in a way Postroom knows."),
        YOU,
        _("Read the server's own words below; they are all there is."),
    ),
)

BY_ID = {reason.id: reason for reason in REASONS}
