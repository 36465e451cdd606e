"""Which replies mean which reason: ordered, the first rule that fits is the answer.

Words that leave no doubt come first, then enhanced status codes with one meaning (RFC 3463 and the
registry of RFC 5248), then vaguer words, then codes that servers use for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postroom.wire.reply import EnhancedStatus


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits if every condition given does: words in the text, enhanced code, first digits of the code."""

    reason: str
    words: re.Pattern[str] | None = None
    enhanced: re.Pattern[str] | None = None
    code: str = ""

    def fits(self, *, code: str, enhanced: str, text: str) -> bool:
        """Does a reply with these parts (each may be empty) fit?"""
        return (
            code.startswith(self.code)
            and (self.enhanced is None or self.enhanced.fullmatch(enhanced) is not None)
            and (self.words is None or self.words.search(text) is not None)
        )


def _words(reason: str, *patterns: str, code: str = "") -> Rule:
    return Rule(reason, words=re.compile("|".join(patterns), re.IGNORECASE), code=code)


def _status(reason: str, *codes: str) -> Rule:
    """`x` stands for 2, 4 or 5; `*` for any number."""
    pattern = "|".join(codes).replace(".", r"\.").replace("x", "[245]").replace("*", r"\d+")
    return Rule(reason, enhanced=re.compile(pattern))


_WITHOUT_DOUBT = (
    Rule("accepted", code="2"),
    _words(
        "sender_not_verified",
        "verified sender identity",
        "email address is not verified",
        "identities failed the check",
        "sender (address |domain )?(is )?not verified",
        "domain is not verified",
    ),
    _words("greylisted", "gr[ea]y-?list", "postgrey"),
    _words("relay_quota", "daily (message |sending |user )*(quota|limit)", "maximum credits exceeded"),
    _words(
        "mailbox_disabled",
        r"\(554\.30\)",
        "(mailbox|account|user) (is |has been |was )*(disabled|suspended|inactive|deactivated|locked|closed)",
    ),
    _words(
        "auth_failed",
        "authentication (credentials )?(failed|invalid|unsuccessful)",
        "invalid (login|credentials|password)",
        "username and password not accepted",
    ),
    _words(
        "auth_required",
        "authentication (is )?required",
        "must (be authenticated|authenticate)",
        "client was not authenticated",
    ),
    _words("tls_required", "must issue a? ?starttls", "(tls|encryption) (is )?required"),
    _words(
        "tls_failed", "certificate (verify|verification|has expired|is not valid|mismatch)", "handshake fail"
    ),
    _words("dmarc_failed", r"\bdmarc\b"),
    _words("unauthenticated", "unauthenticated", r"\bdkim\b.*\bspf\b", r"\bspf\b.*\bdkim\b"),
    _words("spf_failed", r"\bspf\b", "sender policy framework"),
    _words("dkim_failed", r"\bdkim\b"),
    _words("reverse_dns", r"\bptr\b", "reverse (dns|hostname|lookup)"),
    _words(
        "blocklisted",
        "spamhaus|spamcop|barracudacentral|uceprotect|abusix",
        r"\b(black|block|deny)[ -]?list",
        r"\b[a-z]*rbl\b|\bdnsbl\b",
        "banned sending ip",
        "not accepted from this ip",
        "poor reputation",
        r"\bip\b.{0,60}\b(blocked|reputation)",
    ),
    _words("malware", r"\bvirus", "malware", "infected", "dangerous attachment", "potential security issue"),
    _words("mail_loop", "too many hops", "mail loop", "hop count exceeded", "routing loop", "loops back to"),
)

_CODES_OF_ONE_MEANING = (
    _status("user_unknown", "x.1.1"),
    _status("domain_unknown", "x.1.2", "x.1.10"),
    _status("address_invalid", "x.1.3"),
    _status("mailbox_ambiguous", "x.1.4"),
    _status("mailbox_moved", "x.1.6"),
    _status("sender_invalid", "x.1.7", "x.1.8", "x.7.27"),
    _status("recipient_relay_denied", "x.1.9", "x.7.54"),
    _status("mailbox_disabled", "x.2.1"),
    _status("mailbox_full", "x.2.2", "x.3.1"),
    _status("too_big", "x.2.3", "x.3.4"),
    _status("mailing_list", "x.2.4"),
    _status("mail_loop", "x.4.6"),
    _status("routing_failed", "x.4.3", "x.4.4"),
    _status("recipient_unreachable", "x.4.1", "x.4.2"),
    _status("rate_limited", "x.4.5", "x.7.28", "4.7.500"),
    _status("expired", "x.4.7"),
    _status("members_only", "x.7.2", "5.7.124", "5.7.133", "5.7.134", "5.7.136"),
    _status("auth_failed", "x.7.8"),
    _status("auth_required", "x.7.9"),
    _status("tls_required", "x.7.10", "x.7.11"),
    _status("malware", "x.7.17"),
    _status("dkim_failed", "x.7.20", "x.7.21", "x.7.22"),
    _status("spf_failed", "x.7.23", "x.7.24"),
    _status("reverse_dns", "x.7.25"),
    _status("unauthenticated", "x.7.26"),
    _status("dmarc_failed", "5.7.509", "5.7.515"),
    _status("blocklisted", "5.7.511", "5.7.606", "5.7.607", "5.7.608", "5.7.609", "5.7.708"),
    _status("sender_not_verified", "5.7.60"),
    _status("no_smtputf8", "x.6.7", "x.6.9"),
)

# The highest detail of each subject in the registry of RFC 5248, which began with those of RFC 3463 §3.
_HIGHEST_DETAILS = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}


def is_known_status(status: EnhancedStatus) -> bool:
    """Is it registered, or one of those that have a meaning here? Some hundred are, of millions that fit."""
    if status.detail <= _HIGHEST_DETAILS.get(status.subject, -1):
        return True
    return any(rule.fits(code="", enhanced=str(status), text="") for rule in _CODES_OF_ONE_MEANING)


_VAGUER_WORDS = (
    _words(
        "mailbox_full",
        "over ?quota",
        "quota (exceeded|is full)",
        "mailbox (is )?full",
        "(insufficient|out of|not enough) (disk |storage |mailbox |system )?(space|storage)",
        "exceeded storage",
    ),
    _words(
        "relay_denied",
        "relay(ing)? (access )?(is )?(denied|prohibited|not permitted|not allowed)",
        "unable to relay",
        "not (permitted|allowed) to relay",
        "do not relay",
    ),
    _words(
        "user_unknown",
        "(user|recipient|mailbox|address|account)( name)? (is )?(unknown|not found|unavailable)",
        "(unknown|no such|invalid|non-?existent) (local )?(user|recipient|mailbox|address|account)",
        "(user|recipient|mailbox|address|account|email).{0,80} does ?n[o']t exist",
        "no mailbox here",
        "not a (valid|known) (user|mailbox|recipient)",
        code="5",
    ),
    _words(
        "domain_unknown",
        "(host|domain)( name)? (is )?(unknown|not found|does ?n[o']t exist)",
        "(unknown|no such) (host|domain)",
        "nxdomain",
        "name or service not known",
        "null mx",
        "does not accept mail",
    ),
    _words("sender_invalid", "sender (address|domain)?.{0,80}(rejected|invalid)", "invalid sender"),
    _words(
        "rate_limited",
        "rate[ -]?limit",
        "too (many|much) (messages|mails|emails|connections|recipients|mail|requests)",
        "throttl",
        "(sending|unusual) rate",
        "slow down",
    ),
    _words("too_big", "(message|mail|size).{0,60}(too (large|big)|exceeds|limit)"),
    _words("spam", r"\bspam", "unsolicited", "junk mail", "content filter"),
    _words("sender_blocked", "(sender|you).{0,60}(blocked|not (allowed|permitted|welcome))"),
    _words("members_only", "members?[ -]only", "not (a )?(subscribed|member)", "only (subscribers|members)"),
    _words("timed_out", "timed? ?-?out"),
    _words(
        "recipient_unreachable",
        "connection (refused|reset)",
        "(host|network) (is )?unreachable",
        "no route to host",
        "lost connection",
    ),
)

_CODES_FOR_ANYTHING = (
    _status("server_busy", "x.3.0", "x.3.2", "4.3.5", "4.2.0"),
    _status("server_misconfigured", "x.3.3", "x.3.5", "x.3.6", "x.7.3", "x.7.4", "x.7.5", "x.7.6"),
    _status("protocol_error", "x.5.*"),
    _status("content_refused", "x.6.*", "x.7.7"),
    _status("routing_failed", "x.4.0"),
    _status("policy", "5.7.*"),
    _status("rate_limited", "4.7.*"),
    _status("user_unknown", "5.1.0"),
    Rule("server_busy", code="421"),
    Rule("mailbox_full", code="452"),
    Rule("too_big", code="552"),
    Rule("address_invalid", code="553"),
    Rule("protocol_error", code="50"),
    Rule("auth_required", code="530"),
    Rule("auth_failed", code="535"),
)

RULES = _WITHOUT_DOUBT + _CODES_OF_ONE_MEANING + _VAGUER_WORDS + _CODES_FOR_ANYTHING
