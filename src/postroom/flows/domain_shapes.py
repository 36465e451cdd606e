"""A mail domain and its DKIM keys as people and programs are shown them: each state, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from postroom.flows import signing_keys
from postroom.flows.domain_check import name_of, text_of
from postroom.outgoing.dkim_keys import why_unreadable
from postroom.wire.dkim_keys import record_strings, zone_value
from postroom.workspaces.models import DkimKey, MailDomain

FindingState = Literal["ok", "missing", "wrong", "unknown", "unchecked"]
CHECKS: Final = ("dkim", "spf", "dmarc", "mx")


@dataclass(frozen=True, slots=True)
class FindingShape:
    """What DNS said when it was last asked. `unknown`: it did not answer, and nothing is wrong by that."""

    check: str
    state: FindingState
    name: str
    found: str
    wanted: str
    meaning: str


@dataclass(frozen=True, slots=True)
class DkimKeyShape:
    """A key with the TXT record that publishes it: as one text, as strings of DNS, as a zone file has it.

    `dns` says whether the record was there when it was last looked for.
    """

    id: str
    domain: str
    selector: str
    algorithm: str
    state: str
    dns: FindingState
    meaning: str
    record_name: str
    record_text: str
    record_strings: list[str]
    record_zone: str
    created_at: datetime
    activated_at: datetime | None
    retires_at: datetime | None


@dataclass(frozen=True, slots=True)
class DomainShape:
    """A mail domain with what DNS says of it."""

    id: str
    domain: str
    is_default: bool
    checked_at: datetime | None
    findings: list[FindingShape]
    keys: list[DkimKeyShape]


def shape_of_domain(domain: MailDomain) -> DomainShape:
    """A mail domain, its findings and its keys, the newest first."""
    keys = list(signing_keys.keys_of(domain))
    has_active = any(key.state == DkimKey.State.ACTIVE for key in keys)
    findings = [_finding(domain, check, has_active=has_active) for check in CHECKS]
    unreadable = [name_of(key) for key in keys if key.state == DkimKey.State.ACTIVE and why_unreadable(key)]
    if unreadable:
        findings[0] = _of_unreadable(findings[0], unreadable)
    shapes = [shape_of_dkim_key(key, domain) for key in keys]
    return DomainShape(
        f"dom_{domain.pk}", domain.domain, domain.is_default, domain.dns_checked_at, findings, shapes
    )


def shape_of_dkim_key(key: DkimKey, domain: MailDomain) -> DkimKeyShape:
    """One key, with what was last found of its record."""
    text, found = text_of(key), domain.dns_findings.get("keys", {}).get(key.selector)
    dns = state_of(found)
    return DkimKeyShape(
        id=f"dkim_{key.pk}",
        domain=domain.domain,
        selector=key.selector,
        algorithm=key.algorithm,
        state=key.state,
        dns=dns,
        meaning=_meaning_of_key(key, dns),
        record_name=name_of(key),
        record_text=text,
        record_strings=record_strings(text),
        record_zone=zone_value(text),
        created_at=key.created_at,
        activated_at=key.activated_at,
        retires_at=key.retires_at,
    )


def state_of(found: Mapping[str, Any] | None) -> FindingState:
    """A stored finding in one word."""
    if not found:
        return "unchecked"
    if found["is_ok"] is None:
        return "unknown"
    if found["is_ok"]:
        return "ok"
    return "wrong" if found["found"] else "missing"


def _finding(domain: MailDomain, check: str, *, has_active: bool) -> FindingShape:
    found = domain.dns_findings.get(check) or {}
    state = state_of(found)
    if check == "dkim" and state == "missing" and has_active:
        state = "wrong"
    name, seen, wanted = (str(found.get(key, "")) for key in ("name", "found", "wanted"))
    return FindingShape(check, state, name, seen, wanted, _meaning(check, state, seen))


def _of_unreadable(finding: FindingShape, names: Sequence[str]) -> FindingShape:
    meaning = _(
        "A key that should sign cannot be read, so mail leaves without its signature: %(names)s. What to do "
        "stands with the key."
    )
    return replace(finding, state="wrong", meaning=meaning % {"names": ", ".join(names)})


def _meaning(check: str, state: FindingState, found: str) -> str:
    if state == "unchecked":
        return _("Not looked for yet. Press Check now.")
    if state == "unknown":
        return _("Could not be checked, because DNS did not answer. Nothing is wrong by that; check again.")
    words = {"dkim": _dkim, "spf": _spf, "dmarc": _dmarc, "mx": _mx}
    say: Callable[[FindingState, str], str] = words[check]
    return say(state, found)


def _dkim(state: FindingState, found: str) -> str:
    if state == "ok":
        return _("Mail is signed, and every key that signs is published.")
    if state == "wrong":
        return _(
            "A key signs, but its record is not published as it should be, so receivers take its signatures "
            "for broken. Publish the record of the key below, or revoke the key."
        )
    return _("No key signs yet. Make one, publish its record, then activate it.")


def _spf(state: FindingState, found: str) -> str:
    if state == "ok":
        return _("There is an SPF record. It has to let in the servers that your mail goes over.")
    if state == "wrong":
        return _("There is more than one SPF record, or it lets everybody send. Leave one, ending in ~all.")
    return _(
        "Receivers cannot tell which servers may send for this domain. Publish a record like the one "
        "shown, with everything else that sends for it."
    )


def _dmarc(state: FindingState, found: str) -> str:
    if state == "ok" and "p=none" in found.replace(" ", "").lower():
        return _(
            "Receivers report and refuse nothing (p=none). Go on to p=quarantine once the reports are good."
        )
    if state == "ok":
        return _("Receivers refuse or set aside what is not signed and not sent by your servers.")
    if state == "wrong":
        return _("There is more than one DMARC record, or it names no policy. Leave one with p=none or more.")
    return _("Large providers ask for it of everybody who sends much. Begin with the record shown.")


def _mx(state: FindingState, found: str) -> str:
    if state == "ok":
        return _("Mail to this domain has somewhere to go. Bounces and answers come in if it leads here.")
    if state == "wrong":
        return _("The domain says that it takes no mail, so no bounce and no answer comes back.")
    return _("Mail to this domain has nowhere to go, so no bounce and no answer comes back. Publish an MX.")


def _meaning_of_key(key: DkimKey, dns: FindingState) -> str:
    if why := why_unreadable(key):
        return _("It signs nothing, for it cannot be read: %(why)s Or make a new one, and revoke this.") % {
            "why": why
        }
    match DkimKey.State(key.state):
        case DkimKey.State.WAITING:
            return _("It signs nothing yet. Publish its record in DNS, then press Activate.")
        case DkimKey.State.ACTIVE if dns in ("missing", "wrong"):
            return _("It signs, but its record was not found. Publish it again, or revoke the key.")
        case DkimKey.State.ACTIVE:
            return _("It signs every mail. Leave its record in DNS.")
        case DkimKey.State.RETIRING:
            until = date_format(key.retires_at, "DATE_FORMAT") if key.retires_at else ""
            return _("It signs nothing more. Leave its record until %(date)s for mail on its way.") % {
                "date": until
            }
        case DkimKey.State.RETIRED:
            return _("It never signs again. Its record may be removed from DNS.")
