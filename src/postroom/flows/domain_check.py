"""What DNS says of a mail domain: its DKIM keys, SPF, DMARC and MX, beside what should stand there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import dns.exception
import dns.resolver
from django.conf import settings
from django.utils import timezone

from postroom.outgoing.dkim_keys import why_unreadable
from postroom.outgoing.models import MailServer
from postroom.wire.characters import visible
from postroom.wire.dkim_keys import KeyRecord, read_record, record_name, record_text
from postroom.workspaces.models import DkimKey, MailDomain, Workspace

TIMEOUT_SECONDS = 3.0
#: What was last known of each check, as `flows.dns_checking` keeps it beside the findings.
KNOWN = "known"
#: Hosts of providers whose SPF record is not that of the host itself, as they document it.
_INCLUDES = {
    "sendgrid.net": "sendgrid.net",
    "amazonaws.com": "amazonses.com",
    "gmail.com": "_spf.google.com",
    "google.com": "_spf.google.com",
    "office365.com": "spf.protection.outlook.com",
    "outlook.com": "spf.protection.outlook.com",
    "mailgun.org": "mailgun.org",
    "mailjet.com": "spf.mailjet.com",
    "postmarkapp.com": "spf.mtasv.net",
}


class DnsTrouble(Exception):
    """DNS did not answer: nothing is known about what is published."""


class Resolver(Protocol):
    """Asks DNS. What is not published is an empty list; both raise DnsTrouble if nothing is known."""

    def texts(self, name: str) -> list[str]:
        """The TXT records of a name, each with its strings joined."""

    def exchanges(self, name: str) -> list[str]:
        """The hosts of its MX records, best first; "." is the null MX (RFC 7505)."""


class PublicDns:
    """The resolver that this machine uses."""

    def texts(self, name: str) -> list[str]:
        """Ask for TXT."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def exchanges(self, name: str) -> list[str]:
        """Ask for MX."""
        records = sorted(self._ask(name, "MX"), key=lambda record: record.preference)
        return [record.exchange.to_text(omit_final_dot=True) or "." for record in records]

    def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            answer = dns.resolver.Resolver().resolve(name, kind, lifetime=TIMEOUT_SECONDS, search=False)
            return list(answer)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsTrouble(str(error)) from error


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at a name, and what should be there.

    `is_ok` None: it could not be checked, and `found` is why; nothing is wrong by that.
    """

    is_ok: bool | None
    name: str
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All of a domain; `keys` are by selector, and `dkim` is their sum."""

    dkim: Finding
    spf: Finding
    dmarc: Finding
    mx: Finding
    keys: dict[str, Finding]


def check(domain: MailDomain, resolver: Resolver | None = None) -> Findings:
    """Ask DNS for everything at once and store what was found with the domain. Takes seconds: for threads.

    Keys that are retired are not looked for. Never raises because of DNS.
    """
    resolver = resolver or PublicDns()
    keys = list(_keys_of(domain))
    spf_wanted = spf_text(domain.workspace)  # the database is asked in this thread alone
    questions: list[Callable[[], Finding]] = [
        lambda: _spf(domain, resolver, spf_wanted),
        lambda: _dmarc(domain, resolver),
        lambda: _mx(domain, resolver),
        *((lambda key=key: find_key(key, resolver)) for key in keys),
    ]
    with ThreadPoolExecutor(len(questions)) as threads:
        spf, dmarc, mx, *found = threads.map(lambda question: question(), questions)
    by_selector = {key.selector: finding for key, finding in zip(keys, found, strict=True)}
    findings = Findings(_unless_unreadable(_sum(domain, keys, found), keys), spf, dmarc, mx, by_selector)
    known = {KNOWN: domain.dns_findings[KNOWN]} if KNOWN in domain.dns_findings else {}
    domain.dns_findings, domain.dns_checked_at = asdict(findings) | known, timezone.now()
    domain.save(update_fields=["dns_findings", "dns_checked_at"])
    return findings


def find_key(key: DkimKey, resolver: Resolver | None = None) -> Finding:
    """Look whether a key is published. Two records at one name are wrong (RFC 6376 §3.6.2.2)."""
    name, wanted = name_of(key), text_of(key)
    try:
        texts = (resolver or PublicDns()).texts(name)
    except DnsTrouble as trouble:
        return Finding(None, name, str(trouble), wanted)
    is_ok = len(texts) == 1 and _is_same(read_record(texts[0]), key)
    return Finding(is_ok, name, _shown(texts), wanted)


def _shown(texts: Sequence[str]) -> str:
    """Records as they are kept and shown: DNS may hold any octet, and no table takes NUL."""
    return "\n".join(map(visible, texts))


def name_of(key: DkimKey) -> str:
    """The name of the TXT record that publishes a key."""
    return record_name(key.selector, key.mail_domain.domain)


def text_of(key: DkimKey) -> str:
    """What that record says."""
    return record_text(KeyRecord(key.algorithm, key.public))


def spf_text(workspace: Workspace) -> str:
    """The SPF record to publish where nothing else sends for the domain: it lets in the servers of ours.

    A bounce comes back to the domain of the return path, which is the one that SPF is about (RFC 7208 §2.4).
    """
    own = MailServer.objects.filter(workspace=workspace, is_active=True).values_list("host", flat=True)
    hosts = [*own.order_by("priority", "pk"), urlsplit(settings.POSTROOM_RELAY_URL or "").hostname]
    terms = dict.fromkeys(_term(host) for host in hosts if host and not _is_local(host))
    return " ".join(["v=spf1", "mx", *terms, "~all"])


def _term(host: str) -> str:
    provider = next((spf for end, spf in _INCLUDES.items() if host == end or host.endswith(f".{end}")), "")
    return f"include:{provider}" if provider else f"a:{host}"


def _is_local(host: str) -> bool:
    return (
        host == "localhost" or host.endswith(".localhost") or host.replace(".", "").isdigit() or ":" in host
    )


def _keys_of(domain: MailDomain) -> Iterable[DkimKey]:
    keys = DkimKey.objects.filter(mail_domain=domain).exclude(state=DkimKey.State.RETIRED)
    return keys.defer("private").select_related("mail_domain").order_by("pk")


def _is_same(record: KeyRecord | None, key: DkimKey) -> bool:
    if record is None or record.key_type != key.algorithm:
        return False
    try:
        return base64.b64decode(record.public, validate=True) == base64.b64decode(key.public)
    except (ValueError, binascii.Error):
        return False


def _sum(domain: MailDomain, keys: Sequence[DkimKey], found: Sequence[Finding]) -> Finding:
    """Does a key sign, and are all that sign published?"""
    signing = [finding for key, finding in zip(keys, found, strict=True) if key.state == DkimKey.State.ACTIVE]
    names = ", ".join(finding.name for finding in signing)
    is_wrong = not signing or any(finding.is_ok is False for finding in signing)
    is_ok = False if is_wrong else all(finding.is_ok for finding in signing) or None
    missing = "\n".join(finding.found for finding in signing if not finding.is_ok)
    return Finding(
        is_ok, f"_domainkey.{domain.domain}", missing if is_ok is not True else names, "v=DKIM1; …"
    )


def _unless_unreadable(finding: Finding, keys: Sequence[DkimKey]) -> Finding:
    """A key that signs is no good, published or not, if it cannot be read."""
    broken = [f"{name_of(key)}: {why}" for key in keys if _signs(key) and (why := why_unreadable(key))]
    return replace(finding, is_ok=False, found="\n".join(broken)) if broken else finding


def _signs(key: DkimKey) -> bool:
    return key.state == DkimKey.State.ACTIVE


def _spf(domain: MailDomain, resolver: Resolver, wanted: str) -> Finding:
    """One record, and not one that lets everybody send (RFC 7208 §4.5, §5.1)."""
    try:
        texts = [text for text in resolver.texts(domain.domain) if _is_spf(text)]
    except DnsTrouble as trouble:
        return Finding(None, domain.domain, str(trouble), wanted)
    is_ok = len(texts) == 1 and not {"+all", "all", "?all"} & set(texts[0].lower().split())
    return Finding(is_ok, domain.domain, _shown(texts), wanted)


def _is_spf(text: str) -> bool:
    return text.lower().split(" ")[0] == "v=spf1"


def _dmarc(domain: MailDomain, resolver: Resolver) -> Finding:
    """The record of the domain itself or of the nearest one above it."""
    wanted = "v=DMARC1; p=none"
    labels = domain.domain.split(".")
    names = [f"_dmarc.{'.'.join(labels[start:])}" for start in range(max(1, len(labels) - 1))]
    try:
        for name in names:
            if texts := [text for text in resolver.texts(name) if _is_dmarc(text)]:
                return Finding(len(texts) == 1 and _has_policy(texts[0]), name, _shown(texts), wanted)
    except DnsTrouble as trouble:
        return Finding(None, names[0], str(trouble), wanted)
    return Finding(False, names[0], "", wanted)


def _is_dmarc(text: str) -> bool:
    return text.partition(";")[0].replace(" ", "").upper() == "V=DMARC1"


def _has_policy(text: str) -> bool:
    tags = dict(part.replace(" ", "").lower().partition("=")[::2] for part in text.split(";"))
    return tags.get("p") in ("none", "quarantine", "reject")


def _mx(domain: MailDomain, resolver: Resolver) -> Finding:
    """Whether mail to the domain goes anywhere; where to is for people to judge, it may be a relay."""
    wanted = f"10 {settings.POSTROOM_MAIL_DOMAIN}."
    try:
        hosts = resolver.exchanges(domain.domain)
    except DnsTrouble as trouble:
        return Finding(None, domain.domain, str(trouble), wanted)
    return Finding(bool(hosts) and hosts != ["."], domain.domain, "\n".join(hosts), wanted)
